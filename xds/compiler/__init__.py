"""A gateway's policy to Envoy's resources. Pure: no I/O, no clock; the same policy gives the same bytes."""

from xds.compiler.compilation import compile_, forget
from xds.compiler.secrets import Material, material_files

__all__ = ["Material", "compile_", "forget", "material_files"]
