<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Daemon;

/** The daemon is not reached, or refuses. Message and hint are one line each, for a person, and hold no secret. */
class DaemonError extends \RuntimeException {
	public function __construct(
		string $message,
		public readonly string $hint = '',
		/** The HTTP status of its answer; 0 where there was none. */
		public readonly int $status = 0,
	) {
		parent::__construct($message);
	}
}
