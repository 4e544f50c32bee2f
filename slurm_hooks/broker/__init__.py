# SPDX-License-Identifier: Apache-2.0
"""The container-launch step: a Docker API on one unix socket that confines what it launches.

server.py     accept, identify the peer by the kernel, admit or refuse
http1.py      strictness on top of h11                                   (pure)
routes.py     every endpoint that is served, and words for those not     (pure data)
model.py      the closed request models                                  (pure)
launch.py     create, start, exec: decision → record → stage → dockerd → read back
answers.py    what a job sees of dockerd's answers: its own, by its names (pure)
relay.py      one upstream connection a request; splice after a real 101
keeper.py     what goes on beside requests: ended containers, tombstones, v1's processes
staging.py    the helper that resolves bind sources as the user and stages them
"""
