<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\BackgroundJob;

use OCA\HarpBridge\Config;
use OCA\HarpBridge\Journal\Journal;
use OCP\AppFramework\Utility\ITimeFactory;
use OCP\BackgroundJob\IJob;
use OCP\BackgroundJob\TimedJob;

/** Forgets old rows, at night. Who has not read for longer walks everything. */
class Prune extends TimedJob {
	private const DAY = 86_400;

	public function __construct(
		ITimeFactory $time,
		private Journal $journal,
		private Config $config,
	) {
		parent::__construct($time);
		$this->setInterval(self::DAY);
		$this->setTimeSensitivity(IJob::TIME_INSENSITIVE);
	}

	protected function run($argument): void {
		$this->journal->forgetBefore($this->time->getTime() - $this->config->keepDays() * self::DAY);
	}
}
