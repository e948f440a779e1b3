#!/bin/bash
# The official PostgreSQL image's entrypoint, in what tests rely on: the same variables, the same init folder, and the
# same two servers. The first one, of the first start only, listens on the unix socket alone.
set -Eeuo pipefail
shopt -s nullglob

die() { echo "$*" >&2; exit 1; }

# NAME or NAME_FILE (a secret), not both.
from_file() {
  local name=$1 file=$1_FILE
  [[ -z ${!name:-} || -z ${!file:-} ]] || die "error: both $name and $file are set (but are exclusive)"
  if [[ -n ${!file:-} ]]; then export "$name=$(<"${!file}")"; else export "$name=${!name:-${2:-}}"; fi
  unset "$file"
}

wants_help() {
  local arg
  for arg; do
    case $arg in -'?' | --help | --describe-config | -V | --version) return 0 ;; esac
  done
  return 1
}

sql() { psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc --username "$POSTGRES_USER" "$@"; }

make_cluster() {
  [[ -n $POSTGRES_PASSWORD || $POSTGRES_HOST_AUTH_METHOD == trust ]] ||
    die 'Error: Database is uninitialized and superuser password is not specified.
       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser,
       or POSTGRES_HOST_AUTH_METHOD=trust.'
  # shellcheck disable=SC2294 # the official image lets the shell split these arguments, too
  eval 'initdb --no-sync --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD")' \
    ${POSTGRES_INITDB_WALDIR:+'--waldir "$POSTGRES_INITDB_WALDIR"'} "$POSTGRES_INITDB_ARGS"
  local method=$POSTGRES_HOST_AUTH_METHOD
  : "${method:=$(postgres -C password_encryption)}"
  printf '\nhost all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"
}

run_init_files() {
  local f
  for f; do
    echo "$0: running $f"
    case $f in
      *.sh) if [[ -x $f ]]; then "$f"; else . "$f"; fi ;;
      *.sql) sql --dbname "$POSTGRES_DB" -f "$f" ;;
      *.sql.gz) gunzip -c "$f" | sql --dbname "$POSTGRES_DB" ;;
      *.sql.xz) xz -dc "$f" | sql --dbname "$POSTGRES_DB" ;;
      *) echo "$0: ignoring $f" ;;
    esac
    echo
  done
}

first_start() {
  make_cluster
  [[ ${1:-} != postgres ]] || shift
  export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
  NOTIFY_SOCKET='' pg_ctl -D "$PGDATA" -o "$(printf '%q ' "$@" -c listen_addresses='' -p "${PGPORT:-5432}")" -w start
  if [[ $POSTGRES_DB != postgres ]]; then
    POSTGRES_DB='' sql --dbname postgres --set db="$POSTGRES_DB" <<< 'CREATE DATABASE :"db";'
  fi
  run_init_files /docker-entrypoint-initdb.d/*
  pg_ctl -D "$PGDATA" -m fast -w stop
  unset PGPASSWORD
  printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

main() {
  if [[ ${1:-} == -* ]]; then set -- postgres "$@"; fi
  if [[ ${1:-} != postgres ]] || wants_help "$@"; then exec "$@"; fi

  if [[ $(id -u) == 0 ]]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 0700 "$PGDATA"
    find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- env HOME=/var/lib/postgresql "$BASH_SOURCE" "$@"
  fi
  mkdir -p "$PGDATA"
  chmod 0700 "$PGDATA" || :

  from_file POSTGRES_PASSWORD
  from_file POSTGRES_USER postgres
  from_file POSTGRES_DB "$POSTGRES_USER"
  from_file POSTGRES_INITDB_ARGS
  : "${POSTGRES_HOST_AUTH_METHOD:=}"
  if [[ -s $PGDATA/PG_VERSION ]]; then
    printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
  else
    first_start "$@"
  fi
  exec "$@"
}

main "$@"
