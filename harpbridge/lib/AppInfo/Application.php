<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\AppInfo;

use OCA\HarpBridge\Capabilities;
use OCA\HarpBridge\Config;
use OCA\HarpBridge\Hooks;
use OCA\HarpBridge\Navigation;
use OCA\HarpBridge\Notification\Notifier;
use OCA\HarpBridge\SetupChecks\BridgeSocket;
use OCA\HarpBridge\SetupChecks\DaemonAnswers;
use OCP\AppFramework\App;
use OCP\AppFramework\Bootstrap\IBootContext;
use OCP\AppFramework\Bootstrap\IBootstrap;
use OCP\AppFramework\Bootstrap\IRegistrationContext;

/** Says what there is; runs on every request, so it does next to nothing. */
class Application extends App implements IBootstrap {
	public function __construct() {
		parent::__construct(Config::APP);
	}

	public function register(IRegistrationContext $context): void {
		foreach (Hooks::EVENTS as $event) {
			$context->registerEventListener($event, Hooks::class);
		}
		$context->registerCapability(Capabilities::class);
		$context->registerNotifierService(Notifier::class);
		$context->registerSetupCheck(BridgeSocket::class);
		$context->registerSetupCheck(DaemonAnswers::class);
	}

	public function boot(IBootContext $context): void {
		$app = $context->getAppContainer();
		if ($app->get(Config::class)->consolePath() !== '') {
			$app->get(Navigation::class)->show();
		}
	}
}
