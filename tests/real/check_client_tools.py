"""Agents that read, write and run through clinvk where `client_tools` offers it."""

from agents import AGENTS
from registry import scenario
from scene import holds, same
from standin import Text

# Those that use what they are offered: their tools that lead to it, and what those take.
USERS = {
    "kimi": {"write": ("Write", "path"), "shell": ("Bash", "command")},
    # It offers its model nothing for programs.
    "fast-agent": {"write": ("write_text_file", "path")},
}

MODES = {"none": "--approval none", "auto": "--approval auto", "default": "", "read-only": "--approval none --sandbox read-only"}

# What is made by mode, where the agent can.
MADE = {"none": "write shell", "auto": "write", "default": "", "read-only": ""}


@scenario(MODES, of={name: AGENTS[name] for name in USERS})
def client_tools(scene, words):
    """What is there afterwards, and that it was clinvk that made it."""
    tools, [mode] = USERS[scene.backend.name], [mode for mode in MODES if MODES[mode] == words]
    made = {"write": scene.work / "write.txt", "shell": scene.work / "shell.txt"}
    given = {"write": {"content": "written\n"}, "shell": {}}
    values = {"write": str(made["write"]), "shell": f"touch {made['shell']}"}

    def turn(use):
        tool, member = tools[use]
        return Text(call=lambda dialect, offered: (tool, {member: values[use]} | given[use]))

    variable = f"CLINVK_BACKENDS_{scene.backend.name}_CLIENT_TOOLS".upper().replace("-", "_")
    turns = [*map(turn, tools), Text("Done.")]
    ran = scene.run("-v", *words.split(), turns=turns, env={variable: "true"})
    holds(ran.status == 0, f"status {ran.status}: {ran.err}")
    expected = [use for use in MADE[mode].split() if use in tools]
    same([use for use in made if made[use].exists()], expected, "what was made")
    for use, method in (("write", "fs/write_text_file"), ("shell", "terminal/create")):
        asked = [line for line in ran.err.splitlines() if line.startswith("< ") and f'"{method}"' in line]
        holds(asked or use not in expected, f"clinvk was not asked for {method}")
