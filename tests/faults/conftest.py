# SPDX-License-Identifier: Apache-2.0
from app.page_server import client, output, predictor, queue  # noqa: F401  # fixtures
