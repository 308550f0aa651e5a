# SPDX-License-Identifier: Apache-2.0
"""
X-VLA's own wire protocol: a server for a policy, and a client for such servers.

Order of imports: requests, then arrays and encoded_images, fields, protocol; batching and
batcher, app, server. The client (transports, client) imports neither torch nor FastAPI.
"""
