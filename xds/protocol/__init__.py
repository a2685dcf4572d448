"""The xDS protocol without input and output: requests and snapshots in, responses out.

`stream.Stream` is one gRPC stream of one proxy. It holds a `subscription.Subscription` per resource type; the
two dialects, `sotw` and `delta`, differ only in how a request changes a subscription and in what is then owed.
Nothing here reads a clock: `now` is passed in, in seconds of any monotonic clock.

Source: the xDS protocol (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol).
"""
