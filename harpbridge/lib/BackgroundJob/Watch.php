<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\BackgroundJob;

use OCA\HarpBridge\Config;
use OCA\HarpBridge\SelfTest;
use OCP\AppFramework\Utility\ITimeFactory;
use OCP\BackgroundJob\TimedJob;
use OCP\IGroupManager;
use OCP\Notification\IManager;

/** Tells the administrators once when the daemon has been gone for two rounds, and takes it back when it is there. */
class Watch extends TimedJob {
	private const ROUND = 900;

	public function __construct(
		ITimeFactory $time,
		private SelfTest $test,
		private Config $config,
		private IManager $notifications,
		private IGroupManager $groups,
		private \OCP\IAppConfig $values,
	) {
		parent::__construct($time);
		$this->setInterval(self::ROUND);
	}

	protected function run($argument): void {
		$failures = $this->values->getValueInt(Config::APP, 'failures', 0, true);
		$became = $this->test->knock();
		if ($this->test->suffices($became)) {
			if ($failures > 0) {
				$this->values->setValueInt(Config::APP, 'failures', 0, true);
				$this->notifications->markProcessed($this->notification());
			}
			return;
		}
		if ($failures < 2) {
			$this->values->setValueInt(Config::APP, 'failures', $failures + 1, true);
		}
		if ($failures === 1) {
			foreach ($this->groups->get('admin')?->getUsers() ?? [] as $user) {
				$this->notifications->notify($this->notification()
					->setUser($user->getUID())
					->setDateTime($this->time->getDateTime())
					->setSubject('daemon_gone', ['became' => $became->value, 'socket' => $this->config->bridgeSocket()]));
			}
		}
	}

	private function notification(): \OCP\Notification\INotification {
		return $this->notifications->createNotification()->setApp(Config::APP)->setObject('daemon', 'bridge');
	}
}
