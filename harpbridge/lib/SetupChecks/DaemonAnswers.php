<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\SetupChecks;

use OCA\HarpBridge\SelfTest;
use OCP\IL10N;
use OCP\SetupCheck\ISetupCheck;
use OCP\SetupCheck\SetupResult;

class DaemonAnswers implements ISetupCheck {
	public function __construct(
		private SelfTest $test,
		private IL10N $l,
	) {
	}

	public function getCategory(): string {
		return 'harpbridge';
	}

	public function getName(): string {
		return $this->l->t('Harp: the daemon');
	}

	public function run(): SetupResult {
		$check = $this->test->daemon();
		return $check->ok
			? SetupResult::success($check->text)
			: SetupResult::warning($check->text . ': ' . $check->remedy);
	}
}
