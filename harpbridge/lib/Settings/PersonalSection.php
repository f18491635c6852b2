<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Settings;

use OCA\HarpBridge\Config;
use OCP\IL10N;
use OCP\IURLGenerator;
use OCP\Settings\IIconSection;

class PersonalSection implements IIconSection {
	public function __construct(
		private IL10N $l,
		private IURLGenerator $urls,
	) {
	}

	public function getID(): string {
		return Config::APP;
	}

	public function getName(): string {
		return $this->l->t('Harp');
	}

	public function getPriority(): int {
		return 60;
	}

	public function getIcon(): string {
		return $this->urls->imagePath(Config::APP, 'app-dark.svg');
	}
}
