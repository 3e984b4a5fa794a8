"""What differs from one vendor's CLI to the next, as far as check.py can see it: one table each."""

from dataclasses import dataclass, field, replace

from standin import CACHED, INPUT, OUTPUT, REASONING, Failure

SKILL = "check-skill"
SKILL_TEXT = "The skill says: forty-two herons."
NOTES_TEXT = "The notes say: nineteen otters."
MEMORY_TEXT = "The project says: seven badgers."

# What a program that the project's own files name does to show that it ran.
MCP_SERVER = {"command": "sh", "args": ["-c", "touch server-ran"]}

HOOK = {"type": "command", "command": "touch hook-ran"}

# The options of a prompt by the name that messages give them.
OPTIONS = {
    "model": ["--model", "stub-other"],
    "system prompt": ["--system-prompt", "Be a stub."],
    "appended system prompt": ["--append-system-prompt", "Be brief."],
    "max turns": ["--max-turns", "3"],
    "max tokens": ["--max-tokens", "500"],
    "approval auto": ["--approval", "auto"],
    "approval none": ["--approval", "none"],
    "approval always": ["--approval", "always"],
    "sandbox read-only": ["--sandbox", "read-only"],
    "sandbox workspace": ["--sandbox", "workspace"],
    "sandbox full": ["--sandbox", "full"],
    "allowed tools": ["--allowed-tools", "Read"],
    "denied tools": ["--denied-tools", "Write"],
    "extra directories": ["--add-dir", "/"],
    "json schema": ["--json-schema", '{"type": "object"}'],
    "images": ["--image", "pixel.png"],
    "effort": ["--effort", "low"],
    "ephemeral": ["--ephemeral"],
    "interpret": ["--interpret"],
    "no project config": ["--no-project-config"],
    "mcp servers": ["--mcp", '{"look": {"command": "true"}}'],
}

# What the JSON says of each failure, where a backend's own table does not say otherwise.
KINDS = {
    "400": "invalid_request",
    "401": "login",
    "403": "login",
    "404": "unknown_model",
    "404-bare": "unknown_model",
    "429": "quota",
    "quota": "quota",
    "500": "overloaded",
    "503": "overloaded",
    "529": "overloaded",
    "too-long": "context_too_long",
    "refused": "unreachable",
    "cut": "unreachable",
    "stream-error": "overloaded",
    # The vendors call it a success; who asked has nothing.
    "empty": "unreadable",
}

# Kinds whose exit status is not 1.
STATUSES = {"": 0, "unknown_model": 2}


@dataclass(frozen=True)
class Backend:
    name: str
    # What the stand-in's numbers become in the JSON: (input, output, cached, reasoning).
    usage: tuple
    # The model that answers when none is asked for, and a part of what the alias `fast` stands for.
    model: str
    fast: str
    # What --raw prints with every answer.
    raw: str
    # The options that it cannot honour.
    refuses: frozenset
    # Options -> what comes of a shell command that makes a file in the working directory, one that
    # makes a file outside, and a file written with the vendor's tool: those that really exist.
    permissions: dict
    # Its names of the tools, for --allowed-tools and --denied-tools.
    tools: dict
    # Its name of the tool `lookup` of an MCP server `look`.
    lookup: str
    # Files of a project that make the CLI do something, and which of that happens: without
    # --no-project-config and with it.
    project: dict
    project_does: tuple
    # A prompt that --interpret has interpreted, and what the model then sees; None: it sees nothing.
    interpreted: tuple
    # Options -> what the request to the model then has in it.
    seen: dict
    # The vendor's answer to a prompt that is too long.
    too_long: Failure
    # What a user adds to a file of the vendor's in HOME to trust a project.
    trust: tuple = ()
    kinds: dict = field(default_factory=dict)
    # Seconds: longer than a start takes on a slow machine.
    limit: int = 10
    # The file names that the CLI itself leaves in TMPDIR.
    litter: str = "(?!)"
    # What the command of a dry run answers.
    paste: str = '"id":'
    # It has the MCP servers of a run only where it trusts the directory, and each run with some is told so.
    warns_of_servers: str = ""
    # Whether it leaves a session where nobody asks it not to.
    keeps_sessions: bool = True
    # Whether it tells what its shell printed.
    tells_output: bool = True
    # Whether the vendor tries again when an answer breaks off.
    recovers: bool = True
    # What a prompt of 16 MiB comes to: a part of the error message, or none where it works.
    longest_prompt: str = ""


CLAUDE = Backend(
    name="claude",
    # Anthropic counts cached input beside the rest, and knows no count of reasoning.
    usage=(INPUT + CACHED, OUTPUT, CACHED, 0),
    model="claude-",
    fast="haiku",
    raw='"type":"stream_event"',
    refuses=frozenset({"sandbox workspace"}),
    permissions={
        "": "",
        "--approval always": "",
        "--approval auto": "write",
        "--approval none": "shell outside write",
        "--approval none --sandbox read-only": "",
        "--approval none --sandbox full": "shell outside write",
    },
    tools={"shell": "Bash", "write": "Write", "read": "Read", "web": "WebFetch"},
    lookup="mcp__look__lookup",
    project={
        ".claude/settings.json": {
            "hooks": {"UserPromptSubmit": [{"hooks": [HOOK]}]},
        },
        ".mcp.json": {"mcpServers": {"planted": MCP_SERVER}},
        "CLAUDE.md": MEMORY_TEXT,
    },
    project_does=({"hook", "server", "memory"}, set()),
    interpreted=("/cost", None),
    seen={"--max-tokens 500": '"max_tokens": 500', "--effort low": '"effort": "low"'},
    too_long=Failure(400, "prompt is too long: 250000 tokens > 200000 maximum"),
    # Its second try is not streamed, and breaks at the stand-in.
    kinds={"stream-error": "unreachable"},
    # Where claude keeps what its tools print: left when it is killed without grace. And what 2.1.332 itself leaves: the
    # pictures of prompts, a note of each long call of a server's tool, and what it watches files with where it ends soon.
    litter=r"claude-\d+/(.*/tasks/\w+\.output|.*/images/\d+\.\w+|.*/started/unknown-[\w-]+|fswatch-probe-\w+/probe)",
    paste='"result":"Hello from the stub."',
    longest_prompt="Prompt is too long",
)

CODEX = Backend(
    name="codex",
    usage=(INPUT, OUTPUT, CACHED, REASONING),
    model="stub-model",
    fast="luna",
    raw="item/agentMessage/delta",
    refuses=frozenset({"max turns", "max tokens", "allowed tools", "denied tools"}),
    permissions={
        "": "",
        "--approval always": "",
        "--approval auto": "shell write",
        "--approval none": "shell outside write",
        "--sandbox workspace": "shell write",
        "--sandbox full": "shell outside write",
        "--approval none --sandbox read-only": "",
        "--approval none --sandbox workspace": "shell write",
        "--approval none --sandbox full": "shell outside write",
    },
    tools={},
    lookup="mcp__look.lookup",
    project={
        ".codex/config.toml": '[mcp_servers.planted]\ncommand = "sh"\nargs = ["-c", "touch server-ran"]\n',
        "AGENTS.md": MEMORY_TEXT,
    },
    project_does=({"server", "memory"}, set()),
    trust=(".codex/config.toml", '\n[projects."{work}"]\ntrust_level = "trusted"\n'),
    interpreted=(f"${SKILL}", SKILL_TEXT),
    seen={"--effort low": '"effort": "low"'},
    too_long=Failure(400, "Your input exceeds the context window of this model.", "context_length_exceeded"),
    longest_prompt="1048576",
    litter="codex-bwrap-synthetic-mount-targets-[0-9]+/lock",
    kinds={"stream-error": "unreachable"},
)

GEMINI = Backend(
    name="gemini",
    # Its protocol tells neither what was cached nor what was thought.
    usage=(INPUT, OUTPUT, 0, 0),
    model="auto",
    fast="flash",
    raw="agent_message_chunk",
    refuses=frozenset({"appended system prompt", "json schema", "effort", "sandbox workspace"}),
    permissions={
        "": "",
        "--approval always": "",
        "--approval auto": "write",
        "--approval none": "shell outside write",
        "--approval none --sandbox read-only": "",
        "--approval none --sandbox full": "shell outside write",
    },
    tools={"shell": "run_shell_command", "write": "write_file", "read": "read_file", "web": "web_fetch"},
    lookup="mcp_look_lookup",
    warns_of_servers="clinvk: gemini has the MCP servers of this run only where it trusts the folder, and does not say"
    " whether it does\n",
    project={
        ".gemini/settings.json": {"mcpServers": {"planted": MCP_SERVER}},
        ".env": "GEMINI_MODEL=planted-model\n",
        "GEMINI.md": MEMORY_TEXT,
    },
    project_does=({"server", "memory", "model"}, set()),
    interpreted=("@notes.txt", NOTES_TEXT),
    seen={"--max-tokens 500": '"maxOutputTokens": 500'},
    too_long=Failure(400, "The input token count exceeds the maximum number of tokens allowed (1048576)."),
    limit=20,
    trust=(".gemini/trustedFolders.json", '{{"{work}": "TRUST_FOLDER"}}'),
    # It counts tokens by itself, and says no number.
    longest_prompt="exceeds the context window",
    tells_output=False,
    # Its second try would give no sign of being one, so clinvk allows none.
    recovers=False,
    # What ends in the middle or is empty looks the same to whoever drives gemini.
    kinds={"stream-error": "unreadable"},
    # It runs in a home of its own that clinvk removes.
    keeps_sessions=False,
)

BACKENDS = {backend.name: backend for backend in (CLAUDE, CODEX, GEMINI)}

# All of them in one run of clinvk: for parallel, compare and chain.
ALL = replace(CLAUDE, name="all", litter="|".join(backend.litter for backend in BACKENDS.values()))
