<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Notification;

use OCA\HarpBridge\Config;
use OCA\HarpBridge\Daemon\Delivery;
use OCP\IURLGenerator;
use OCP\L10N\IFactory;
use OCP\Notification\INotification;
use OCP\Notification\INotifier;
use OCP\Notification\UnknownNotificationException;

/** Words for the notifications of this app, in the reader's language. */
class Notifier implements INotifier {
	public function __construct(
		private IFactory $languages,
		private IURLGenerator $urls,
	) {
	}

	public function getID(): string {
		return Config::APP;
	}

	public function getName(): string {
		return $this->languages->get(Config::APP)->t('Harp');
	}

	public function prepare(INotification $notification, string $languageCode): INotification {
		if ($notification->getApp() !== Config::APP) {
			throw new UnknownNotificationException();
		}
		$l = $this->languages->get(Config::APP, $languageCode);
		$said = $notification->getSubjectParameters();
		$became = Delivery::tryFrom((string)($said['became'] ?? '')) ?? Delivery::Failed;
		$socket = (string)($said['socket'] ?? '');
		[$subject, $message, $section] = match ($notification->getSubject()) {
			'daemon_gone' => [
				$l->t('The Harp daemon does not hear this Nextcloud'),
				$became->text($l, $socket) . ': ' . $became->remedy($l, $socket),
				'settings.AdminSettings.index',
			],
			'invited' => [
				$l->t('A ticket for your folder “%s” was made', [$said['folder'] ?? '']),
				$l->t('Whoever has the ticket can hold this folder. If it was not you, stop sharing the folder and change your password.'),
				'settings.PersonalSettings.index',
			],
			default => throw new UnknownNotificationException(),
		};
		return $notification
			->setParsedSubject($subject)
			->setParsedMessage($message)
			->setIcon($this->urls->getAbsoluteURL($this->urls->imagePath(Config::APP, 'app-dark.svg')))
			->setLink($this->urls->linkToRouteAbsolute($section, ['section' => Config::APP]));
	}
}
