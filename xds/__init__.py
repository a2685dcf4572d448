"""The control plane: policy in, Envoy resources out, to every Envoy that asks and in the order that hurts nobody."""
