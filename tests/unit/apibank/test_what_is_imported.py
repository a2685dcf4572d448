"""What a process does not need it does not load: a gateway's process compiles nothing for Envoy."""

import subprocess
import sys


def test_the_process_of_a_gateway_loads_neither_the_compiler_nor_envoys_messages() -> None:
    program = (
        "import sys, apibank.gateway_service; "
        "print([name for name in sys.modules if name.partition('.')[0] in {'xds', 'envoy_data_plane', 'betterproto2'}])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == "[]"
