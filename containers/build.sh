#!/usr/bin/env bash
# Build the image and try it: `catena --help`, then a tiny demo from nothing to scored neurons, inside.
#
#   containers/build.sh [build|check|all]        (all: both, the default)
#   containers/build.sh archive FILE             write the image to FILE, for `docker load` or containers/catena.def
#
# It takes docker, podman or buildah, the first that works here (ENGINE=buildah chooses). Settings, all optional:
#
#   TAG                            name of the image (catena:cpu; with DEVICE=cuda catena:cuda)
#   BASE_IMAGE                     an image or, with no registry in reach, nothing: then debootstrap makes one (as root)
#   DEBIAN_SUITE, DEBIAN_MIRROR    what debootstrap makes (bookworm, http://deb.debian.org/debian)
#   DEVICE, TORCH_INDEX_URL, KUBECTL_VERSION        see containers/Dockerfile
#
# pip's own settings (index-url, extra-index-url, find-links, trusted-host, cert; from PIP_* variables or pip's files) hold
# in the build as well. Folders among them are mounted, which docker cannot do.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly DEFAULT_BASE=docker.io/library/python:3.11-slim-bookworm
readonly DEBOOTSTRAP_BASE=localhost/catena-base:${DEBIAN_SUITE:=bookworm}
: "${DEBIAN_MIRROR:=http://deb.debian.org/debian}" "${DEVICE:=cpu}" "${TAG:=localhost/catena:$DEVICE}"

say() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }
fail() { printf 'containers/build.sh: %s\n' "$*" >&2; exit 1; }

works() {  # a docker client without its daemon does not
  command -v "$1" >/dev/null && "$1" info >/dev/null 2>&1
}

choose_engine() {
  # Without a set-up of its own (in a container, in CI) buildah can do without runtime and overlay file system
  export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}
  local engine
  for engine in ${ENGINE:-docker podman buildah}; do
    if works "$engine"; then
      ENGINE=$engine
      return
    fi
    if [ "$engine" = buildah ] && STORAGE_DRIVER=vfs works buildah; then
      export STORAGE_DRIVER=vfs
      ENGINE=buildah
      return
    fi
  done
  fail "none of ${ENGINE:-docker, podman, buildah} works here; on Debian: apt-get install buildah"
}

image_is_there() {
  case $ENGINE in
    docker) docker image inspect "$1" >/dev/null 2>&1 ;;
    podman) podman image exists "$1" ;;
    buildah) buildah inspect --type image "$1" >/dev/null 2>&1 ;;
  esac
}

choose_base() {
  if [ -n "${BASE_IMAGE:-}" ]; then
    return
  fi
  BASE_IMAGE=$DEFAULT_BASE
  if image_is_there "$BASE_IMAGE" || "$ENGINE" pull "$BASE_IMAGE"; then
    return
  fi
  BASE_IMAGE=$DEBOOTSTRAP_BASE
  say "no registry in reach: the base is Debian $DEBIAN_SUITE from $DEBIAN_MIRROR ($BASE_IMAGE)"
  image_is_there "$BASE_IMAGE" || make_base
}

make_base() {
  [ "$(id -u)" = 0 ] || fail "debootstrap needs root; name an image that is here with BASE_IMAGE=..."
  command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap, or set BASE_IMAGE=..."
  local root container
  root=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder of now
  trap "rm -rf --one-file-system '$root'" EXIT
  debootstrap --variant=minbase "$DEBIAN_SUITE" "$root" "$DEBIAN_MIRROR" >"$root.log" ||
    fail "debootstrap failed, see $root.log"
  rm -rf "$root.log" "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  if [ "$ENGINE" = buildah ]; then
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$root" / >/dev/null
    buildah commit --quiet --rm "$container" "$BASE_IMAGE" >/dev/null
  else
    tar -C "$root" -c . | "$ENGINE" import - "$BASE_IMAGE"
  fi
}

pip_setting() {
  local variable=PIP_${1^^}
  variable=${variable//-/_}
  if [ -n "${!variable:-}" ]; then
    echo "${!variable}"
  else
    "${PYTHON:-python3}" -m pip config get "global.$1" 2>/dev/null | tr '\n' ' ' || true
  fi
}

MOUNTS=()
BUILD_ARGUMENTS=()

mount_folder() {  # FOLDER: make it visible in the build, set MOUNTED to where
  [ "$ENGINE" != docker ] || fail "pip is set to take packages from $1, which docker cannot mount; try ENGINE=buildah"
  MOUNTED=/run/pip/$((${#MOUNTS[@]} / 2))
  MOUNTS+=(--volume "$1:$MOUNTED:ro")
}

add_pip_setting() {  # NAME: pass it on, with folders replaced by where they are mounted
  local variable=PIP_${1^^} word folder words=()
  for word in $(pip_setting "$1"); do
    folder=${word#file://}
    if [ ! -d "$folder" ]; then
      words+=("$word")
    elif [ "$1" = find-links ]; then
      mount_folder "$(realpath "$folder")"
      words+=("$MOUNTED")
    else  # an index of files commonly refers to a folder beside it
      mount_folder "$(realpath "$folder/..")"
      words+=("file://$MOUNTED/$(basename "$(realpath "$folder")")")
    fi
  done
  if [ ${#words[@]} -gt 0 ]; then
    BUILD_ARGUMENTS+=(--build-arg "${variable//-/_}=${words[*]}")
  fi
}

build() {
  choose_base
  local setting name bundle command=("$ENGINE" build)
  if [ "$ENGINE" = buildah ]; then
    command=(buildah bud)
    [ "${STORAGE_DRIVER:-}" = vfs ] || command+=(--layers)  # vfs copies every layer below with each one that it keeps
  fi
  [ "$ENGINE" = docker ] || command+=(--ignorefile containers/Dockerfile.dockerignore)
  for setting in index-url extra-index-url find-links trusted-host; do
    add_pip_setting "$setting"
  done
  for name in BASE_IMAGE DEVICE TORCH_INDEX_URL KUBECTL_VERSION; do
    [ -z "${!name:-}" ] || BUILD_ARGUMENTS+=(--build-arg "$name=${!name}")
  done
  bundle=$(pip_setting cert)
  bundle=${bundle:-${SSL_CERT_FILE:-}}
  bundle=${bundle%% *}
  [ ! -s "$bundle" ] || BUILD_ARGUMENTS+=(--secret "id=ca_bundle,src=$bundle")
  say "$ENGINE builds $TAG"
  "${command[@]}" "${MOUNTS[@]}" "${BUILD_ARGUMENTS[@]}" --file containers/Dockerfile --tag "$TAG" .
}

check() {
  say "catena --help in $TAG"
  in_image catena --help
  say "tiny demo in $TAG"
  in_image sh /opt/catena/share/catena/demo.sh
  say "done: $TAG, $("$ENGINE" images --format '{{.Size}}' "$TAG")"
}

in_image() {
  if [ "$ENGINE" = buildah ]; then
    local container status=0
    container=$(buildah from "$TAG")
    buildah run "$container" -- "$@" || status=$?
    buildah rm "$container" >/dev/null
    return "$status"
  fi
  "$ENGINE" run --rm --init --entrypoint "$1" "$TAG" "${@:2}"
}

archive() {
  [ ! -e "$1" ] || fail "$1 exists already"
  case $ENGINE in
    docker) docker save --output "$1" "$TAG" ;;
    podman) podman save --format docker-archive --output "$1" "$TAG" ;;
    buildah) buildah push "$TAG" "docker-archive:$1:$TAG" ;;
  esac
}

choose_engine
case ${1:-all} in
  build) build ;;
  check) check ;;
  all) build && check ;;
  archive) archive "${2:?which file?}" ;;
  *) fail "expected build, check, all or archive FILE, found '$1'" ;;
esac
