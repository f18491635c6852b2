<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Controller;

use OCA\HarpBridge\Daemon\DaemonError;
use OCA\HarpBridge\QrCode;
use OCA\HarpBridge\Sharing\Folders;
use OCP\AppFramework\Http;
use OCP\AppFramework\Http\Attribute\ApiRoute;
use OCP\AppFramework\Http\Attribute\BruteForceProtection;
use OCP\AppFramework\Http\Attribute\NoAdminRequired;
use OCP\AppFramework\Http\Attribute\PasswordConfirmationRequired;
use OCP\AppFramework\Http\Attribute\UserRateLimit;
use OCP\AppFramework\Http\DataResponse;
use OCP\AppFramework\OCSController;
use OCP\IL10N;
use OCP\IRequest;
use OCP\ISession;
use OCP\IUser;
use OCP\IUserSession;

/** What the personal page asks. All that pairs or revokes wants the password again, and only so often. */
class FoldersController extends OCSController {
	/** A guess at somebody else's folder or device counts as a wrong password does. */
	private const ACTION = 'harpbridge';

	public function __construct(
		string $appName,
		IRequest $request,
		private Folders $folders,
		private IUserSession $users,
		private ISession $session,
		private IL10N $l,
	) {
		parent::__construct($appName, $request);
	}

	#[NoAdminRequired]
	#[UserRateLimit(limit: 120, period: 60)]
	#[ApiRoute(verb: 'GET', url: '/api/v1/folders')]
	public function list(): DataResponse {
		return $this->answer(fn (IUser $user): array => ['folders' => $this->folders->of($user)]);
	}

	#[NoAdminRequired]
	#[PasswordConfirmationRequired]
	#[UserRateLimit(limit: 10, period: 60)]
	#[BruteForceProtection(action: self::ACTION)]
	#[ApiRoute(verb: 'POST', url: '/api/v1/folders')]
	public function share(string $path = ''): DataResponse {
		return $this->changed(fn (IUser $user): array => ['id' => $this->folders->share($user, $path)]);
	}

	#[NoAdminRequired]
	#[PasswordConfirmationRequired]
	#[UserRateLimit(limit: 10, period: 60)]
	#[BruteForceProtection(action: self::ACTION)]
	#[ApiRoute(verb: 'POST', url: '/api/v1/folders/{id}/invitations')]
	public function invite(string $id, bool $readOnly = false): DataResponse {
		return $this->changed(function (IUser $user) use ($id, $readOnly): array {
			$made = $this->folders->invite($user, $id, $readOnly);
			$code = QrCode::of($made['ticket']);
			return $made + ['qr' => ['size' => count($code) + 8, 'path' => QrCode::path($code)]];
		});
	}

	#[NoAdminRequired]
	#[PasswordConfirmationRequired]
	#[UserRateLimit(limit: 30, period: 60)]
	#[BruteForceProtection(action: self::ACTION)]
	#[ApiRoute(verb: 'DELETE', url: '/api/v1/folders/{id}/devices/{device}')]
	public function forget(string $id, string $device): DataResponse {
		return $this->changed(function (IUser $user) use ($id, $device): array {
			$this->folders->forget($user, $id, $device);
			return [];
		});
	}

	#[NoAdminRequired]
	#[PasswordConfirmationRequired]
	#[UserRateLimit(limit: 10, period: 60)]
	#[BruteForceProtection(action: self::ACTION)]
	#[ApiRoute(verb: 'DELETE', url: '/api/v1/folders/{id}')]
	public function leave(string $id): DataResponse {
		return $this->changed(function (IUser $user) use ($id): array {
			$this->folders->leave($user, $id);
			return [];
		});
	}

	/**
	 * To Nextcloud, who comes with an app password has just confirmed it. Such a password lies on devices, which must not
	 * let in others.
	 *
	 * @param callable(IUser): array<string, mixed> $perform
	 */
	private function changed(callable $perform): DataResponse {
		if ($this->session->exists('app_password')) {
			$said = ['message' => 'an app password pairs and revokes nothing', 'hint' => 'log in, and use the page Harp'];
			return new DataResponse($said, Http::STATUS_FORBIDDEN);
		}
		return $this->answer($perform);
	}

	/** @param callable(IUser): array<string, mixed> $perform */
	private function answer(callable $perform): DataResponse {
		$user = $this->users->getUser();
		if ($user === null) {
			return new DataResponse([], Http::STATUS_UNAUTHORIZED);
		}
		try {
			return new DataResponse($perform($user));
		} catch (DaemonError $e) {
			if ($e->status === 0) {
				// Why is for whoever runs the server: it names files of it.
				$said = $this->l->t('Harp cannot be reached just now. Your files are safe; ask your administrator.');
				return new DataResponse(['message' => $said, 'hint' => ''], Http::STATUS_BAD_GATEWAY);
			}
			$status = in_array($e->status, [400, 404, 409], true) ? $e->status : Http::STATUS_BAD_GATEWAY;
			$response = new DataResponse(['message' => $e->getMessage(), 'hint' => $e->hint], $status);
			if ($e->status === Http::STATUS_NOT_FOUND) {
				$response->throttle(['action' => self::ACTION]);
			}
			return $response;
		}
	}
}
