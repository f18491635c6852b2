<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge;

use OCA\HarpBridge\Daemon\Client;
use OCA\HarpBridge\Daemon\DaemonError;
use OCA\HarpBridge\Journal\Journal;

/** Figures of the app itself, and of the daemon where it answers. */
class Metrics {
	public function __construct(
		private Journal $journal,
		private Client $daemon,
	) {
	}

	/** @return array{journal_rows: int, journal_last_id: int, journal_oldest_seconds: int, daemon_up: int} */
	public function ours(int $now): array {
		$extent = $this->journal->extent();
		return [
			'journal_rows' => $extent['rows'],
			'journal_last_id' => $extent['newest'],
			'journal_oldest_seconds' => $extent['rows'] === 0 ? 0 : max(0, $now - $extent['oldest_at']),
			'daemon_up' => (int)$this->isDaemonUp(),
		];
	}

	public function isDaemonUp(): bool {
		try {
			$this->daemon->get('/v1/device');
			return true;
		} catch (DaemonError) {
			return false;
		}
	}

	/** Prometheus' text form: ours, then the daemon's own. */
	public function text(int $now): string {
		$help = [
			'journal_rows' => 'Rows in the journal.',
			'journal_last_id' => 'The id of the newest row.',
			'journal_oldest_seconds' => 'Age of the oldest row.',
			'daemon_up' => 'Whether the daemon answers at its control socket.',
		];
		$text = '';
		foreach ($this->ours($now) as $name => $value) {
			$text .= "# HELP harpbridge_$name $help[$name]\n# TYPE harpbridge_$name gauge\nharpbridge_$name $value\n";
		}
		try {
			return $text . $this->daemon->metrics();
		} catch (DaemonError) {
			return $text;
		}
	}
}
