<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\OpenMetrics;

use Generator;
use OCA\HarpBridge\Metrics;
use OCP\OpenMetrics\IMetricFamily;
use OCP\OpenMetrics\Metric;
use OCP\OpenMetrics\MetricType;

/** For /metrics, which Nextcloud has since 33; on 32 nobody loads this file. */
class DaemonUp implements IMetricFamily {
	public function __construct(
		private Metrics $metrics,
	) {
	}

	public function name(): string {
		return 'harpbridge_daemon_up';
	}

	public function type(): MetricType {
		return MetricType::gauge;
	}

	public function unit(): string {
		return '';
	}

	public function help(): string {
		return 'Whether the Harp daemon answers at its control socket';
	}

	public function metrics(): Generator {
		yield new Metric((int)$this->metrics->isDaemonUp());
	}
}
