# SPDX-License-Identifier: Apache-2.0
"""
X-VLA's own wire protocol: the server of a policy, and the client that asks one.

requests < arrays, pictures < fields < protocol; batching, batcher < app < server. The client
(transports, client) imports neither torch nor FastAPI.
"""
