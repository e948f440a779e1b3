#!/bin/sh
# The official image's entrypoint in short: options and a .conf file are for redis-server, the server does not run
# as root, and it serves other containers without a password (protected mode off).
set -e
case ${1:-} in
  -* | *.conf) set -- redis-server "$@" ;;
esac
case "${1:-} ${2:-}" in
  'redis-server -v' | 'redis-server --version' | 'redis-server -h' | 'redis-server --help') exec "$@" ;;
esac
if [ "${1:-}" = redis-server ]; then
  shift
  # A configuration file, if there is one, comes first; what is said on the command line wins.
  config=
  case ${1:-} in
    '' | -*) ;;
    *) config=$1; shift ;;
  esac
  set -- redis-server ${config:+"$config"} --protected-mode no "$@"
  if [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis:redis '{}' +
    exec setpriv --reuid=redis --regid=redis --clear-groups -- "$@"
  fi
fi
exec "$@"
