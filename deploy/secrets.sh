#!/bin/sh
# Makes the secrets that docker-compose.yml mounts as files, once; what is there stays. To rotate one, delete its file and run this again.
#   deploy/secrets.sh [DIR]      default: deploy/secrets, which version control ignores
# The folder is yours alone. The files inside are readable, because a container's user is none of this machine's.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-$here/secrets}
umask 077
mkdir -p "$target"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

for name in redis-password row-key grafana-password; do
    if [ ! -s "$target/$name" ]; then
        # A new password changes the login that is derived from it.
        [ "$name" != redis-password ] || rm -f "$target/redis-users.acl"
        random >"$target/$name"
    fi
done

if [ ! -s "$target/redis-users.acl" ]; then
    digest=$(sha256sum <"$target/redis-password" | cut -d ' ' -f 1)
    sed "s/@DIGEST@/$digest/" "$here/redis/users.acl.in" >"$target/redis-users.acl"
fi
chmod 0644 "$target"/*
