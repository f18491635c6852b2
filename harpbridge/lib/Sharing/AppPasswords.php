<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Sharing;

use OCA\HarpBridge\Daemon\DaemonError;
use OCP\Authentication\Token\IToken;
use OCP\IL10N;
use OCP\ISession;
use OCP\IUser;
use OCP\Security\ISecureRandom;
use Psr\Container\ContainerInterface;

/**
 * App passwords for the daemon: it writes as the person, so that versions, shares and quota are theirs.
 *
 * Making one has no public interface in Nextcloud; where the inner one is not as it was, a person makes it by hand.
 */
class AppPasswords {
	private const PROVIDER = 'OC\Authentication\Token\IProvider';
	/** As it is shown on the person's page “Security”, where it can be taken back too. */
	private const NAME = 'Harp (hub of this server)';
	private const LENGTH = 72;

	public function __construct(
		private ContainerInterface $container,
		private ISecureRandom $random,
		private ISession $session,
		private IL10N $l,
	) {
	}

	/**
	 * @return array{id: int, password: string} the password is nowhere else
	 * @throws DaemonError
	 */
	public function make(IUser $user): array {
		$password = $this->random->generate(self::LENGTH, ISecureRandom::CHAR_ALPHANUMERIC);
		try {
			$token = $this->container->get(self::PROVIDER)->generateToken(
				$password, $user->getUID(), $user->getUID(), null, self::NAME, IToken::PERMANENT_TOKEN, IToken::DO_NOT_REMEMBER,
			);
			return ['id' => (int)$token->getId(), 'password' => $password];
		} catch (\Throwable) {
			throw new DaemonError(
				$this->l->t('this Nextcloud gave no app password for Harp'),
				$this->l->t('make one on the page Security, and on the server: harp account add NAME URL --user USER'),
				502,
			);
		}
	}

	public function isThere(int $id): bool {
		try {
			$this->container->get(self::PROVIDER)->getTokenById($id);
			return true;
		} catch (\Throwable) {
			return false;
		}
	}

	/** Whether it is that with which this request was let in. */
	public function isInUse(int $id): bool {
		try {
			return (int)$this->container->get(self::PROVIDER)->getToken((string)$this->session->get('app_password'))->getId() === $id;
		} catch (\Throwable) {
			return false;
		}
	}

	public function takeBack(IUser $user, int $id): void {
		try {
			$this->container->get(self::PROVIDER)->invalidateTokenById($user->getUID(), $id);
		} catch (\Throwable) {
			// The person may have taken it back on the page Security.
		}
	}
}
