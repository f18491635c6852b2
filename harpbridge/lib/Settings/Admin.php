<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Settings;

use OCA\HarpBridge\Config;
use OCA\HarpBridge\SelfTest;
use OCP\AppFramework\Http\TemplateResponse;
use OCP\AppFramework\Utility\ITimeFactory;
use OCP\IURLGenerator;
use OCP\Settings\ISettings;
use OCP\Util;

class Admin implements ISettings {
	public function __construct(
		private Config $config,
		private SelfTest $test,
		private ITimeFactory $time,
		private IURLGenerator $urls,
	) {
	}

	public function getForm(): TemplateResponse {
		Util::addStyle(Config::APP, 'harpbridge');
		Util::addScript(Config::APP, 'admin');
		return new TemplateResponse(Config::APP, 'admin', [
			'url' => parse_url($this->urls->linkToOCSRouteAbsolute('harpbridge.settings.save'), PHP_URL_PATH),
			'confirm' => $this->urls->getWebroot() . '/index.php/login/confirm',
			'checks' => $this->test->run($this->time->getTime()),
			'bridgeSocket' => $this->config->bridgeSocket(),
			'controlSocket' => $this->config->controlSocket(),
			'hubAddress' => $this->config->hubAddress() ?? '',
			'nextcloudUrl' => $this->config->nextcloudUrl(),
		]);
	}

	public function getSection(): string {
		return Config::APP;
	}

	public function getPriority(): int {
		return 50;
	}
}
