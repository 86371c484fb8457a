#!/usr/bin/env bash
# Installs the servers that tests need where they are missing: PostgreSQL. Starts nothing; tests start their own.
set -euo pipefail

have_postgres() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null
}

[ -z "${TETHER_TEST_POSTGRES_URL:-}" ] || exit 0
have_postgres && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "PostgreSQL is missing; its tests are skipped. Install it (Debian: apt-get install postgresql) or set TETHER_TEST_POSTGRES_URL" >&2
    [ "${CI:-}" != true ]
    exit
fi
echo "installing PostgreSQL"
export DEBIAN_FRONTEND=noninteractive
# Debian's package makes and starts a cluster of its own unless told otherwise; the tests want only the programs
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
fi
apt-get update -qq
apt-get install -y -qq -o Dpkg::Options::=--force-confold postgresql >/dev/null
have_postgres
