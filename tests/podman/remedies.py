"""What a remedy begins with: a command, so that a person can paste it."""

import re

COMMAND = re.compile(
    r"^(?:sudo |cd \S+ && |[A-Z_]+=\S+ )*"
    r"(?:\$\{EDITOR:-vi\} |(?:invoke|nox|podman|less|git|kill|ss|df|ls|grep|cat|ulimit|unset|export|python3|pip|go"
    r"|apt-get|infra-init|dmesg|ps|du|mount|usermod|modprobe|skopeo|mkdir|mv)\b)"
)
