# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is wrong between Nextcloud, the web server in front and Harp: probes that look, and a diagnosis that judges."""
