# SPDX-License-Identifier: MIT
"""nvdimm.py -- persistent memory: a store on ext4 with DAX on an NVDIMM, in a guest that is killed

The NVDIMM is a file outside. QEMU carries every store of the guest into it at once, whether it was flushed or not: so this shows that a store on real
DAX (MAP_SYNC, cache-line granularity, nothing forced) survives the death of its kernel, and not that a flush is missing; tests/crash shows that.
"""
import os
import shutil
import time

from scene import Acks, Failed, Scene

SIZE = 192 << 20
# A new NVDIMM is raw, which cannot be mapped by a file system: make an fsdax namespace of it, as ndctl does.
FSDAX = """cd /sys/bus/nd/devices && echo namespace0.0 > ../drivers/nd_pmem/unbind && p=$(cat region0/pfn_seed) && \
cat /proc/sys/kernel/random/uuid > $p/uuid && echo 2097152 > $p/align && echo ram > $p/mode && echo namespace0.0 > $p/namespace && \
echo $p > ../drivers/nd_pmem/bind"""


def boot(s, acks, image):
    g = s.boot((), [acks], machine="q35,nvdimm=on", memory="512M,slots=2,maxmem=2G", extra=(
        "-object", f"memory-backend-file,id=m1,share=on,mem-path={image},size={SIZE}", "-device", "nvdimm,id=n1,memdev=m1"))
    if not os.path.getsize(image + ".made"):
        g.run(FSDAX)
        g.run("mkfs.ext4 -q -b 4096 /dev/pmem0")
        with open(image + ".made", "w") as f:
            f.write("yes")
    g.run("mount -t ext4 -o dax=always /dev/pmem0 /mnt/x")
    return g


def judged(s, what, acks):
    out = []
    wrong = s.judge(what, "/mnt/x/a.twz", acks, said=out)
    if not any("granularity 1 forced 0" in ln for ln in out):
        wrong.append(f"{what}: the store is not on persistent memory: {out[:3]}")
    return wrong


def main(a):
    with Scene(a) as s:
        acks, image = Acks(), f"{s.dir}/nvdimm"
        open(image + ".made", "w").close()
        with open(image, "wb") as f:
            f.truncate(SIZE)
        for n in range(a.boots + 1):
            g = boot(s, acks, image)
            if n:
                for w in judged(s, f"killed {n} times", acks):
                    s.fault(w)
            s.say(f"boot {n}: {acks.cnt} changes acknowledged")
            if s.faults or n == a.boots:
                break
            g.run("vmload work /mnt/x/a.twz --ack /dev/vport*p2 >/dev/null 2>&1 &")
            then = acks.cnt
            time.sleep(a.seconds * (0.3 + s.rng.random()))
            s.wait_for("not one change", lambda then=then: acks.cnt > then)
            if n == a.boots - 1:  # a device that forgets: this copy is older than what will be acknowledged
                shutil.copyfile(image, image + ".old")
                then = acks.cnt
                s.wait_for("not 20 changes more", lambda then=then: acks.cnt > then + 20)
            g.kill()
            for e in acks.errors:
                s.fault(e)
        g.kill()
        if not s.faults:
            os.rename(image + ".old", image)
            try:
                boot(s, acks, image)
                wrong = judged(s, "an old image", acks)
            except Failed as e:
                wrong = [str(e)[:200]]
            if wrong:
                s.say(f"an image as it was a second before: noticed: {wrong[0]}")
            else:
                s.fault("an image as it was a second before is not noticed")
        return s.result(f"NVDIMM: {a.boots} guests killed, {acks.cnt} changes acknowledged")
