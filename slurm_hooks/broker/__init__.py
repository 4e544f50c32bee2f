# SPDX-License-Identifier: Apache-2.0
"""The container-launch step: a Docker API on one unix socket that confines what it launches.

server.py      what all connections share; the program
door.py        accept, within each user's bounds
sockets.py     one for each user with a job, beside everybody's
channel.py     a socket on the loop, without buffers
turns.py       whose request is next
peers.py       who is asking: pidfd, cgroup, open job
connection.py  whole requests in, answers out
http1.py       strictness on top of h11                                   (pure)
routes.py      every endpoint that is served, and words for those not     (pure data)
handlers.py    what is done with an admitted request
model.py       the closed request models                                  (pure)
launch.py      create, start, exec: decision → note → stage → dockerd → read back
layers.py      where an image's and a container's layers lie, in either of dockerd's stores
rootfs.py      where the image's links would lead a container's mounts
images.py      the node's images as a job sees them
pulls.py       docker pull and login: turns, credentials, a bound on the size
cache.py       the images' bound on the disk
notes.py       the broker's notes in a job's record
staging.py     the helper that resolves bind sources as the user and stages them
readback.py    what the kernel says of a started container
containers.py  found, listed, inspected, removed
answers.py     what a job sees of dockerd's answers: its own, by its names (pure)
account.py     what became of a job's containers, for its user
node.py        version, info, usage, join
relay.py       one upstream connection a request; splice after a real 101
orphans.py     what a broker that was killed in a launch has left
upgrade.py     a new broker takes the socket
keeper.py      what goes on beside requests: ended containers, tombstones, steps
"""
