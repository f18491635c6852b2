<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Settings;

use OCA\HarpBridge\Config;
use OCA\HarpBridge\Daemon\DaemonError;
use OCA\HarpBridge\Sharing\Folders;
use OCP\AppFramework\Http\TemplateResponse;
use OCP\IURLGenerator;
use OCP\IUserSession;
use OCP\Settings\ISettings;
use OCP\Util;

class Personal implements ISettings {
	public function __construct(
		private Folders $folders,
		private IUserSession $session,
		private IURLGenerator $urls,
	) {
	}

	public function getForm(): TemplateResponse {
		Util::addStyle(Config::APP, 'harpbridge');
		Util::addScript(Config::APP, 'personal');
		$user = $this->session->getUser();
		$folders = $choices = [];
		$isReached = true;
		if ($user !== null) {
			$choices = $this->folders->choices($user);
			try {
				$folders = $this->folders->of($user);
			} catch (DaemonError) {
				// Why is for whoever runs the server: it names files of it.
				$isReached = false;
			}
		}
		return new TemplateResponse(Config::APP, 'personal', [
			'url' => parse_url($this->urls->linkToOCSRouteAbsolute('harpbridge.folders.list'), PHP_URL_PATH),
			'confirm' => $this->urls->getWebroot() . '/index.php/login/confirm',
			'folders' => $folders,
			'choices' => $choices,
			'isReached' => $isReached,
		]);
	}

	public function getSection(): string {
		return Config::APP;
	}

	public function getPriority(): int {
		return 50;
	}
}
