"""``tandem rollout``: the commands by which a person has a word in a run."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from tandem_cli.errors import AdvisedError
from tandem_cli.rollout import screen
from tandem_cli.rollout.asking import ask
from tandem_cli.rollout.current import current, last_record
from tandem_cli.rollout.forms import Said
from tandem_cli.rollout.lateness import lateness_from
from tandem_cli.rollout.options import (
    ClusterOption,
    ContextOption,
    Format,
    LocalOption,
    NameArgument,
    NamespaceOption,
    OutputOption,
    ReasonOption,
    TimeoutOption,
    WaitOption,
    check_version,
    show,
    target_of,
)
from tandem_cli.rollout.setting import Setting
from tandem_cli.rollout.target import Target
from tandem_rollout.api.fields import seconds
from tandem_rollout.engine.run import Verb

_EXITS: Final = "Exit codes: 0 heard, 1 refused, 2 the command line is invalid, 4 not heard in time."

_PLAIN: Final[tuple[tuple[Verb, str], ...]] = (
    ("pause", "Hold a run at its weight. A canary that fails goes all the same."),
    ("resume", "Go on after a pause or a gate."),
    ("abort", "Give stable all requests back."),
    (
        "rollback",
        "Give the version before all requests back, as long as it still has its pods; a run that is on its way is "
        "aborted.",
    ),
)
"""Those that have nothing to say beside the verb."""


def add_verbs(commands: typer.Typer) -> None:
    """Add the commands."""
    commands.command(
        "start", help=f"Start a run: of another bundle, or once more of the one that was aborted.\n\n{_EXITS}"
    )(_start)
    commands.command(
        "promote",
        help="Give the canary all requests without waiting for evidence. To go on after a gate or a pause, use resume."
        f"\n\n{_EXITS}",
    )(_promote)
    for verb, says in _PLAIN:
        _add_plain(commands, verb, f"{says}\n\n{_EXITS}")


def _add_plain(commands: typer.Typer, verb: Verb, says: str) -> None:
    @commands.command(verb, help=says)
    def plain(
        context: typer.Context,
        name: NameArgument,
        reason: ReasonOption = "",
        timeout: TimeoutOption = "30s",
        wait: WaitOption = True,
        namespace: NamespaceOption = "",
        kube_context: ContextOption = "",
        local: LocalOption = False,
        cluster: ClusterOption = False,
        output: OutputOption = Format.TABLE,
    ) -> None:
        setting = context.ensure_object(Setting)
        target = target_of(setting, name, local, cluster, namespace, kube_context)
        _say(setting, target, name, verb, reason=reason, timeout=timeout, wait=wait, output=output)


def _start(
    context: typer.Context,
    name: NameArgument,
    bundle: Annotated[str, typer.Option("--bundle", metavar="IMAGE", help="Cluster: image of the bundle.")] = "",
    version: Annotated[str, typer.Option("--version", help="This machine: version of the bundle.")] = "",
    reason: ReasonOption = "",
    timeout: TimeoutOption = "30s",
    wait: WaitOption = True,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    setting = context.ensure_object(Setting)
    target = target_of(setting, name, local, cluster, namespace, kube_context)
    check_version(target, bundle, version)
    what = bundle or version
    for said in _lateness(target, name):
        typer.echo(f"warning: {said.message}", err=True)
    _say(setting, target, name, "start", reason=reason, timeout=timeout, wait=wait, output=output, bundle=what)


def _promote(
    context: typer.Context,
    name: NameArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept with who and when.")],
    timeout: TimeoutOption = "30s",
    wait: WaitOption = True,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    if not reason.strip():
        raise typer.BadParameter("say why: it overrides the evidence", param_hint="--reason")
    setting = context.ensure_object(Setting)
    target = target_of(setting, name, local, cluster, namespace, kube_context)
    _say(setting, target, name, "promote", reason=reason, timeout=timeout, wait=wait, output=output)


def _lateness(target: Target, name: str) -> list[Said]:
    """That what is started will hardly be decided in time. Nobody is kept from it who may not read the evidence."""
    try:
        found = current(target.get(name))
        return lateness_from(found, last_record(target, found))
    except AdvisedError:
        return []


def _say(
    setting: Setting,
    target: Target,
    name: str,
    verb: Verb,
    *,
    reason: str,
    timeout: str,
    wait: bool,
    output: Format,
    bundle: str = "",
) -> None:
    patience = seconds(timeout)
    form = ask(target, name, verb, setting, comment=reason.strip(), timeout=patience, wait=wait, bundle=bundle)
    show(form, screen.answer(form), output)
    if wait and not form.heard:
        typer.echo(f"{verb} was sent and not heard within {patience:g} s", err=True)
        typer.echo(f"hint: see `tandem rollout explain {name}`, and that the controller runs", err=True)
    raise typer.Exit(form.exit_code)
