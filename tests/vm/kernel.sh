#!/bin/sh
# SPDX-License-Identifier: MIT
# kernel.sh DIR: a Debian kernel for the virtual machine, in DIR/vmlinuz and DIR/modules. The newest one installed; if
# there is none, the package is downloaded and unpacked into DIR, and nothing is installed.
set -eu
dir=$1
if [ -e "$dir/vmlinuz" ] && [ -e "$dir/modules/modules.dep" ]; then
	exit 0
fi
mkdir -p "$dir"
for k in $(ls -r /boot/vmlinuz-*-amd64 2>/dev/null || true); do
	v=${k#/boot/vmlinuz-}
	if [ -e "/lib/modules/$v/modules.dep" ] && [ -r "$k" ] && [ -d "/lib/modules/$v/kernel/drivers/nvdimm" ]; then
		ln -sfn "$k" "$dir/vmlinuz"
		ln -sfn "/lib/modules/$v" "$dir/modules"
		exit 0
	fi
done
pkg=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[ -n "$pkg" ] || { echo "kernel.sh: apt knows no linux-image-amd64: run apt-get update" >&2; exit 1; }
echo "kernel.sh: downloading $pkg" >&2
rm -rf "$dir/unpacked"
mkdir -p "$dir/unpacked"
(cd "$dir/unpacked" && apt-get download -qq "$pkg" 2>/dev/null && dpkg -x ./*.deb . && rm -f ./*.deb)
v=${pkg#linux-image-}
# what the guest needs, and no more
find "$dir/unpacked/lib/modules/$v/kernel" -mindepth 1 -maxdepth 1 -type d \
	! -name drivers ! -name fs ! -name lib ! -name crypto ! -name arch ! -name net -exec rm -rf {} +
PATH=$PATH:/usr/sbin:/sbin depmod -b "$dir/unpacked" "$v"
ln -sfn "unpacked/boot/vmlinuz-$v" "$dir/vmlinuz"
ln -sfn "unpacked/lib/modules/$v" "$dir/modules"
