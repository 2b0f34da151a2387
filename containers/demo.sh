#!/bin/sh
# Run in the image: a tiny volume from nothing to scored neurons, in a folder that is thrown away.
set -eu
config="$(dirname "$(realpath "$0")")/demo.yaml"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
catena synthesise phantom.zarr --shape 64,96,96 --voxel-size 8,8,8 --seed 1
catena run "$config"
catena status "$config"
test -s runs/tiny/volumes/phantom/metrics.json
