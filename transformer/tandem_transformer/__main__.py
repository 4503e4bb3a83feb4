"""Entry point of the transformer container."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tandem import logs
from tandem_transformer import config as configuration
from tandem_transformer import processes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the transformer.

    Returns:
        0 after a graceful stop, 1 if the bundle is refused or a port is taken or lost, 2 if the command line is
        invalid.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    one_of_many = "--one_of_many" in arguments
    config = configuration.parse([argument for argument in arguments if argument != "--one_of_many"])
    logs.configure()
    if config.processes > 1 and not one_of_many:
        return processes.supervise(arguments, config.processes)
    # imported late: prometheus_client looks for the shared directory of several processes when it is imported
    from tandem.oip import serving
    from tandem_transformer.server import serve

    return serving.run(serve(config))


if __name__ == "__main__":
    sys.exit(main())
