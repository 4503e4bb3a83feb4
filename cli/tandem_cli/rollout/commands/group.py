"""The group of commands ``tandem rollout``, which is ``kubectl tandem-rollout`` too."""

from __future__ import annotations

import typer

from tandem_cli.errors import ErrorPrintingGroup
from tandem_cli.rollout.commands.explain import explain_rollout
from tandem_cli.rollout.commands.history import show_history
from tandem_cli.rollout.commands.plan import show_plan
from tandem_cli.rollout.commands.report import write_report
from tandem_cli.rollout.commands.send import add_commands
from tandem_cli.rollout.commands.simulate import simulate_rollouts
from tandem_cli.rollout.commands.status import show_status
from tandem_cli.rollout.commands.watch import watch_rollout

commands = typer.Typer(
    cls=ErrorPrintingGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Show and control rollouts of new versions.\n\n"
    "If a stack with the name of the rollout runs on this machine, the command uses it. Otherwise it uses the cluster "
    "of the kubeconfig.\n\n"
    "Exit codes of all commands: 0 done or promoted, 1 failure, 2 the command line is invalid, 3 aborted or rolled "
    "back, 4 not decided or not accepted in time, 5 paused or waiting for approval.",
)

commands.command("simulate")(simulate_rollouts)
commands.command("status")(show_status)
commands.command("watch")(watch_rollout)
commands.command("history")(show_history)
commands.command("plan")(show_plan)
commands.command("explain")(explain_rollout)
commands.command("report")(write_report)
add_commands(commands)


def main() -> None:
    """Run the commands as a plugin of kubectl."""
    commands(prog_name="kubectl tandem-rollout")
