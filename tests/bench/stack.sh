#!/usr/bin/env bash
# The stack as an expert would start it by hand: the yardstick of `nox -s bench`, so it is written to be fast.
#
#   stack.sh PLAN          PLAN is a file of bash that run.py writes from the catalogue's plan: `network` with its labels,
#                          and for each component its `podman run` words (name, env, mounts, ports, image, command) and
#                          what its gate asks. The same images, commands, configuration files and ports as ours.
#
# The same order and gates as ours: PostgreSQL by a query over TCP on its published port, the migrations by their exit
# code, Redis by PING, DataStorage by its health check's body. What makes it fast: files are mounted and not copied, no
# image is decided about, no poll starts a process where bash can ask by itself, psql without Debian's wrapper in Perl,
# a pause of 10 ms without a fork, and nothing is watched, swept, locked or reported.
set -euo pipefail

readonly PAUSE=0.01
exec {never}<> <(:) # a descriptor on which nothing arrives: `read -t` on it is a sleep that needs no process

# gate NAME SECONDS QUESTION...: ask until the answer is yes.
gate() {
  local name=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" 2>/dev/null; do
    if ((SECONDS > deadline)); then
      echo "stack.sh: $name is not ready in time" >&2
      exit 75
    fi
    read -rt "$PAUSE" -u "$never" || true
  done
  echo "passed $name $EPOCHREALTIME"
}

postgres_answers() {
  [[ $("$psql" -XAtqc 'SELECT 1' "$1") == 1 ]]
}

redis_answers() {
  local tcp said
  exec {tcp}<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf 'PING\r\n' >&"$tcp"
  read -rt 2 -u "$tcp" said || said=
  exec {tcp}>&-
  [[ $said == +PONG* ]]
}

# http_answers PORT PATH STATUS BODY: JSON says the same with and without blanks after `:` and `,`.
http_answers() {
  local tcp said
  exec {tcp}<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$2" >&"$tcp"
  IFS= read -rt 2 -d '' -u "$tcp" said || true # read says no at the end of the answer, and has it all the same
  exec {tcp}>&-
  said=${said//: /:}
  [[ $said == "HTTP/1."?" $3 "* && ${said//, /,} == *"$4"* ]]
}

start() {
  podman run --detach --pull never --image-volume ignore --log-driver k8s-file "$@" >/dev/null
}

# A job in the foreground has ended when its command has: `podman wait` looks every 250 ms only.
finish() {
  podman run --pull never --image-volume ignore --log-driver k8s-file "$@" >/dev/null
}

up() {
  podman network create "${network[@]}" >/dev/null
  start "${postgres[@]}"
  gate postgres 30 postgres_answers "$postgres_asks"
  finish "${migrations[@]}"
  echo "passed migrations $EPOCHREALTIME"
  start "${redis[@]}"
  gate redis 10 redis_answers "$redis_asks"
  start "${datastorage[@]}"
  gate datastorage 30 http_answers "${datastorage_asks[@]}"
}

# shellcheck source=/dev/null
source "$1"
psql=$(compgen -G '/usr/lib/postgresql/*/bin/psql' | sort -V | tail -n 1) || psql=psql
up
