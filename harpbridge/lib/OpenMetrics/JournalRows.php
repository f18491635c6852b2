<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\OpenMetrics;

use Generator;
use OCA\HarpBridge\Journal\Journal;
use OCP\OpenMetrics\IMetricFamily;
use OCP\OpenMetrics\Metric;
use OCP\OpenMetrics\MetricType;

/** For /metrics, which Nextcloud has since 33; on 32 nobody loads this file. */
class JournalRows implements IMetricFamily {
	public function __construct(
		private Journal $journal,
	) {
	}

	public function name(): string {
		return 'harpbridge_journal';
	}

	public function type(): MetricType {
		return MetricType::gauge;
	}

	public function unit(): string {
		return 'rows';
	}

	public function help(): string {
		return 'Rows in the journal of Harp Bridge';
	}

	public function metrics(): Generator {
		yield new Metric($this->journal->extent()['rows']);
	}
}
