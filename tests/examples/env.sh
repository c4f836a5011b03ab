# SPDX-License-Identifier: MIT
# env.sh -- sourced, with $root set: tools find the installation
libdir=$(dirname "$(find "$root" -name 'libtwz.so.0' | head -n 1)")
PKG_CONFIG_PATH=$libdir/pkgconfig
LD_LIBRARY_PATH=$libdir
export PKG_CONFIG_PATH LD_LIBRARY_PATH
