"""Scripts that complete the command line of ``atasker-like`` in a shell, made from its parsers.

A script holds all words itself, so that a completion starts no interpreter.
"""
from __future__ import annotations

from argparse import REMAINDER, SUPPRESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Action, ArgumentParser
    from typing import Iterator

    Parsers = dict[str, ArgumentParser]


SHELLS = ("bash", "zsh", "fish")

#: Arguments that are paths, by their name in the help. An address may be that of a socket file.
_PATHS = ("ADDRESS", "FILE", "PATH", "SCRIPT")

#: Values of options that may be anything, so that the next words are completed as after the option.
_GUESSED = ("MODULE",)


def script(shell: str, parser: ArgumentParser, commands: Parsers, summaries: dict[str, str]) -> str:
    """Return the script for a shell.

    :param parser: that of the whole command line.
    :param commands: the parser of each command.
    :param summaries: what each command does.
    """
    make = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    return "\n".join([f"# Completes atasker-like in {shell}; "
                      f"'atasker-like completion {shell}' prints it.",
                      *make(parser, commands, summaries)]) + "\n"


def _options(parser: ArgumentParser) -> list[Action]:
    return [action for action in parser._actions if action.option_strings]


def _words(action: Action) -> list[str]:
    """Return the names of an option: the long ones, or all if there is none."""
    return [name for name in action.option_strings if name.startswith("--")] or list(
        action.option_strings)


def _arguments(parser: ArgumentParser) -> list[Action]:
    return [action for action in parser._actions if not action.option_strings]


def _values(action: Action, commands: Parsers) -> list[str]:
    """Return the words that an argument can be; none if any word will do."""
    return list(commands) if action.metavar == "COMMAND" else list(action.choices or ())


def _takes_value(action: Action) -> bool:
    return action.nargs != 0


def _is_path(action: Action) -> bool:
    return action.metavar in _PATHS


def _purpose(action: Action) -> str:
    text = action.help
    if not text or text == SUPPRESS:
        text = f"run a {str(action.metavar).lower()}"
    return " ".join((text % {"prog": "atasker-like"}).split())


# -- bash ------------------------------------------------------------------------------------------


def _bash(parser: ArgumentParser, commands: Parsers, summaries: dict[str, str]) -> Iterator[str]:
    valued = [name for its in commands.values() for action in _valued(its)
              for name in action.option_strings]
    # Works in bash 3.2, too, which has no mapfile and no compopt.
    yield from """\
_atasker_like() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
    local command= position=0 words= paths= number
    local IFS=$'\\n'
    COMPREPLY=()
    for ((number = 1; number < COMP_CWORD; number++)); do
        case ${COMP_WORDS[number]} in
            -*) continue ;;
        esac
        case ${COMP_WORDS[number-1]} in
            VALUED) ;;
            *) if [[ $command ]]; then ((position++)); else command=${COMP_WORDS[number]}; fi ;;
        esac
    done
    case $command in""".replace("VALUED", "|".join(valued)).split("\n")
    yield f"        '') words={_bash_words([*commands, *_option_words(parser)])} ;;"
    for command, its in commands.items():
        yield f"        {command})"
        yield "            case $previous in"
        for action in _valued(its):
            names = "|".join(action.option_strings)
            yield f"                {names}) {'paths=1' if _is_path(action) else 'return'} ;;"
        yield f"                *) [[ $current == -* ]] && words={_bash_words(_option_words(its))}"
        for position, action in enumerate(_arguments(its)):
            here = f"                   [[ $position {_at(action)} {position} ]] &&"
            values = _values(action, commands)
            if values:
                yield f"{here} words+=$'\\n'{_bash_words(values)}"
            elif _is_path(action):
                yield f"{here} paths=1"
        yield "            esac"
        yield "            ;;"
    yield from """\
    esac
    [[ $words ]] && COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [[ $paths && $current != -* ]]; then
        compopt -o filenames 2>/dev/null
        COMPREPLY+=($(compgen -f -- "$current"))
    fi
}
complete -F _atasker_like atasker-like""".split("\n")


def _valued(parser: ArgumentParser) -> list[Action]:
    """Return the options that take a value, but for those of :data:`_GUESSED`."""
    return [action for action in _options(parser)
            if _takes_value(action) and action.metavar not in _GUESSED]


def _at(action: Action) -> str:
    """Return how the position of an argument is compared: the program's own arguments follow."""
    return "-ge" if action.nargs == REMAINDER else "-eq"


def _option_words(parser: ArgumentParser) -> list[str]:
    return [word for action in _options(parser) for word in _words(action)]


def _bash_words(words: list[str]) -> str:
    return "$'" + "\\n".join(words) + "'"


# -- zsh -------------------------------------------------------------------------------------------


def _zsh(parser: ArgumentParser, commands: Parsers, summaries: dict[str, str]) -> Iterator[str]:
    yield "_atasker_like() {"
    yield "    local -a commands"
    yield "    local curcontext=$curcontext state state_descr line"
    yield "    typeset -A opt_args"
    yield "    commands=("
    for command, its in commands.items():
        yield f"        {_quoted(command + ':' + summaries[command])}"
    yield "    )"
    yield "    _arguments -C \\"
    for action in _options(parser):
        yield f"        {_zsh_option(action, commands)} \\"
    yield "        '1:command:->command' '*::argument:->argument'"
    yield "    case $state in"
    yield "        command) _describe command commands ;;"
    yield "        argument)"
    yield "            case $words[1] in"
    for command, its in commands.items():
        yield f"                {command}) _arguments \\"
        lines = [_zsh_option(action, commands) for action in _options(its)]
        for action in _arguments(its):
            position = "*" if action.nargs in ("*", REMAINDER) else ""
            lines.append(_quoted(f"{position}:{_zsh_value(action, commands)}"))
        yield " \\\n".join(f"                    {line}" for line in lines) + " ;;"
    yield "            esac ;;"
    yield "    esac"
    yield "}"
    # Read by eval, or as a file in a folder of $fpath.
    yield 'if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _atasker_like "$@"'
    yield "else compdef _atasker_like atasker-like"
    yield "fi"


def _zsh_option(action: Action, commands: Parsers) -> str:
    value = f":{_zsh_value(action, commands)}" if _takes_value(action) else ""
    return " ".join(_quoted(f"{name}[{_zsh_text(_purpose(action))}]{value}")
                    for name in action.option_strings)


def _zsh_value(action: Action, commands: Parsers) -> str:
    name = _zsh_text(str(action.metavar))
    values = _values(action, commands)
    if values:
        return f"{name}:({' '.join(values)})"
    return f"{name}:{'_files' if _is_path(action) else ' '}"


def _zsh_text(text: str) -> str:
    for special in "\\:[]":
        text = text.replace(special, "\\" + special)
    return text


# -- fish ------------------------------------------------------------------------------------------


def _fish(parser: ArgumentParser, commands: Parsers, summaries: dict[str, str]) -> Iterator[str]:
    yield "complete -c atasker-like -f"
    for command in commands:
        yield (f"complete -c atasker-like -n __fish_use_subcommand -a {command} "
               f"-d {_quoted(summaries[command])}")
    for action in _options(parser):
        yield f"complete -c atasker-like -n __fish_use_subcommand {_fish_option(action)}"
    for command, its in commands.items():
        begin = f"complete -c atasker-like -n '__fish_seen_subcommand_from {command}'"
        for action in _options(its):
            yield f"{begin} {_fish_option(action)}"
        for action in _arguments(its):
            values = _values(action, commands)
            if values:
                yield f"{begin} -a {_quoted(' '.join(values))}"
            elif _is_path(action):
                yield f"{begin} -F"


def _fish_option(action: Action) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
             for name in action.option_strings]
    value = ""
    if _takes_value(action):
        value = " -r -F" if _is_path(action) else " -x"
    return f"{' '.join(names)}{value} -d {_quoted(_purpose(action))}"


# -- words -----------------------------------------------------------------------------------------


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
