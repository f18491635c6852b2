<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Controller;

use OCA\HarpBridge\Check;
use OCA\HarpBridge\Config;
use OCA\HarpBridge\SelfTest;
use OCP\AppFramework\Http;
use OCP\AppFramework\Http\Attribute\ApiRoute;
use OCP\AppFramework\Http\Attribute\PasswordConfirmationRequired;
use OCP\AppFramework\Http\DataResponse;
use OCP\AppFramework\OCSController;
use OCP\AppFramework\Utility\ITimeFactory;
use OCP\IRequest;

/** What the administrator's page asks; administrators only, which is what a method without an attribute means. */
class SettingsController extends OCSController {
	public function __construct(
		string $appName,
		IRequest $request,
		private Config $config,
		private SelfTest $test,
		private ITimeFactory $time,
	) {
		parent::__construct($appName, $request);
	}

	#[PasswordConfirmationRequired]
	#[ApiRoute(verb: 'PUT', url: '/api/v1/settings')]
	public function save(string $bridgeSocket, string $controlSocket, string $hubAddress = '', string $nextcloudUrl = ''): DataResponse {
		try {
			$this->config->setBridgeSocket($bridgeSocket);
			$this->config->setControlSocket($controlSocket);
			$this->config->setHubAddress($hubAddress);
			$this->config->setNextcloudUrl($nextcloudUrl);
		} catch (\InvalidArgumentException $e) {
			return new DataResponse(['message' => $e->getMessage(), 'hint' => ''], Http::STATUS_BAD_REQUEST);
		}
		return $this->test();
	}

	#[ApiRoute(verb: 'GET', url: '/api/v1/self-test')]
	public function test(): DataResponse {
		$checks = $this->test->run($this->time->getTime());
		return new DataResponse(['checks' => array_map(static fn (Check $check): array => $check->fields(), $checks)]);
	}
}
