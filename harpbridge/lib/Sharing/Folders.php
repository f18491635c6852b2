<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Sharing;

use OCA\HarpBridge\Config;
use OCA\HarpBridge\Daemon\Client;
use OCA\HarpBridge\Daemon\DaemonError;
use OCP\AppFramework\Utility\ITimeFactory;
use OCP\Config\IUserConfig;
use OCP\Files\Folder;
use OCP\Files\IRootFolder;
use OCP\Files\NotFoundException;
use OCP\Files\NotPermittedException;
use OCP\IL10N;
use OCP\IURLGenerator;
use OCP\IUser;
use OCP\Notification\IManager;

/**
 * What a person may do with the daemon: share folders of theirs, let devices in, and take devices away.
 *
 * To the daemon this app is one caller who may do everything. So which folder is whose is kept here, and nobody reaches
 * a folder, or a device, that is not theirs.
 *
 * @psalm-type Device = array{id: string, name: string, connected: bool, lacks: int|null}
 * @psalm-type Shared = array{id: string, path: string, state: string, error: string, mirror: string, note: string, problems: list<string>, moreProblems: int, files: int, bytes: int, devices: list<Device>}
 */
class Folders {
	/** What the daemon asks Nextcloud about before it answers takes it longer than the rest. */
	private const LONG_MS = 20_000;
	private const TICKET_S = 3600;
	/** So many files that cannot be kept the same are named on the page. */
	private const MOST_PROBLEMS = 10;

	public function __construct(
		private Client $daemon,
		private AppPasswords $passwords,
		private IUserConfig $values,
		private IRootFolder $root,
		private IURLGenerator $urls,
		private Config $config,
		private IManager $notifications,
		private ITimeFactory $time,
		private IL10N $l,
	) {
	}

	/**
	 * @return list<Shared>
	 * @throws DaemonError
	 */
	public function of(IUser $user): array {
		$mine = $this->mine($user);
		if ($mine === []) {
			return [];
		}
		$status = $this->daemon->get('/v1/status');
		$known = array_column(self::rows($status, 'folders'), null, 'id');
		$shared = [];
		foreach ($mine as $id => $path) {
			$folder = $known[$id] ?? ['state' => 'gone', 'error' => $this->l->t('the daemon no longer has this folder')];
			$mirror = is_array($folder['mirror'] ?? null) ? $folder['mirror'] : [];
			$problems = array_slice(self::rows($folder, 'problems'), 0, self::MOST_PROBLEMS);
			$shared[] = [
				'id' => (string)$id,
				'path' => $path,
				'state' => self::text($folder, 'state'),
				'error' => self::text($folder, 'error'),
				'mirror' => self::text($mirror, 'state'),
				'note' => self::text($mirror, 'note'),
				'problems' => array_map(fn (array $one): string => self::text($one, 'path') . ': ' . self::text($one, 'why'), $problems),
				'moreProblems' => max(0, (int)($folder['problem_count'] ?? 0) - count($problems)),
				'files' => (int)($folder['files'] ?? 0),
				'bytes' => (int)($folder['bytes'] ?? 0),
				'devices' => self::devices(self::rows($status, 'peers'), (string)$id),
			];
		}
		return $shared;
	}

	/** @return list<string> the ids of what this person shares; asks nobody */
	public function ids(IUser $user): array {
		return array_map('strval', array_keys($this->mine($user)));
	}

	/** @return list<string> folders that could be shared, as a suggestion: those at the top */
	public function choices(IUser $user): array {
		$taken = array_values($this->mine($user));
		$choices = [];
		foreach ($this->root->getUserFolder($user->getUID())->getDirectoryListing() as $node) {
			if ($node instanceof Folder && !in_array('/' . $node->getName(), $taken, true)) {
				$choices[] = '/' . $node->getName();
			}
		}
		sort($choices);
		return $choices;
	}

	/**
	 * Share a folder of the person's files. One that is shared already stays as it is, but the daemon is let in again
	 * where the person took its app password back. Answers its id.
	 *
	 * @throws DaemonError
	 */
	public function share(IUser $user, string $path): string {
		$path = $this->checked($user, $path);
		$known = array_search($path, $this->mine($user), true);
		$account = $this->account($user);
		if ($known !== false) {
			return (string)$known;
		}
		$folder = $this->daemon->send('POST', '/v1/folders', ['account' => $account, 'path' => $path], self::LONG_MS);
		$id = self::text($folder, 'id');
		if (preg_match('/^[0-9a-f]{8,128}$/D', $id) !== 1) {
			throw new DaemonError($this->l->t('the daemon gave the folder no id'), $this->l->t('update the daemon'), 502);
		}
		$this->keep($user, $this->mine($user) + [$id => $path]);
		return $id;
	}

	/**
	 * A ticket that lets one device in; whoever has it first is in.
	 *
	 * @return array{ticket: string, expires_at: int, path: string, read_only: bool}
	 * @throws DaemonError
	 */
	public function invite(IUser $user, string $id, bool $readOnly, int $seconds = self::TICKET_S): array {
		$path = $this->path($user, $id);
		$asked = ['read_only' => $readOnly, 'expires_s' => (float)$seconds];
		$made = $this->daemon->send('POST', '/v1/folders/' . rawurlencode($id) . '/invitations', $asked);
		$this->notifications->notify($this->notifications->createNotification()
			->setApp(Config::APP)
			->setUser($user->getUID())
			->setDateTime($this->time->getDateTime())
			->setObject('folder', substr($id, 0, 64))
			->setSubject('invited', ['folder' => $path]));
		return [
			'ticket' => self::text($made, 'ticket'),
			'expires_at' => (int)($made['expires_at'] ?? 0),
			'path' => $path,
			'read_only' => $readOnly,
		];
	}

	/**
	 * End a device's membership. The daemon ends it in all folders at once, so it must hold none of another person.
	 *
	 * @throws DaemonError
	 */
	public function forget(IUser $user, string $id, string $device): void {
		$this->path($user, $id);
		$mine = $this->mine($user);
		foreach (self::rows($this->daemon->get('/v1/status'), 'peers') as $peer) {
			if (self::text($peer, 'id') !== $device) {
				continue;
			}
			$holds = array_column(self::rows($peer, 'folders'), 'id');
			if (!in_array($id, $holds, true)) {
				break;
			}
			if (array_diff($holds, array_map('strval', array_keys($mine))) !== []) {
				throw new DaemonError($this->l->t('this device holds folders of others too'), $this->l->t('ask the administrator to take it away: harp forget'), 409);
			}
			$this->daemon->send('POST', '/v1/peers/' . rawurlencode($device) . '/forget');
			return;
		}
		throw new DaemonError($this->l->t('no such device holds this folder'), '', 404);
	}

	/** Stop sharing: the devices are taken away first. The files stay, here and on the devices. @throws DaemonError */
	public function leave(IUser $user, string $id): void {
		$this->path($user, $id);
		try {
			$this->daemon->send('POST', '/v1/folders/' . rawurlencode($id) . '/leave', ['for_all' => true], self::LONG_MS);
		} catch (DaemonError $e) {
			// A folder that the daemon does not know has been left.
			if ($e->status !== 400 && $e->status !== 404) {
				throw $e;
			}
		}
		$mine = $this->mine($user);
		unset($mine[$id]);
		$this->keep($user, $mine);
		if ($mine === []) {
			$this->passwords->takeBack($user, $this->values->getValueInt($user->getUID(), Config::APP, 'token', 0, true));
			$this->values->deleteUserConfig($user->getUID(), Config::APP, 'token');
		}
	}

	/** @throws DaemonError */
	private function checked(IUser $user, string $path): string {
		$path = '/' . trim($path, '/');
		if (strlen($path) > 4000 || preg_match('~(?:^|/)\.\.?(?:/|$)|//|[[:cntrl:]]~', $path) === 1) {
			throw new DaemonError($this->l->t('this is not a folder of yours'), $this->l->t('choose one from the list'), 400);
		}
		try {
			$node = $this->root->getUserFolder($user->getUID())->get($path);
		} catch (NotFoundException|NotPermittedException) {
			throw new DaemonError($this->l->t('there is no such folder'), $this->l->t('make it in Files first'), 404);
		}
		if (!$node instanceof Folder) {
			throw new DaemonError($this->l->t('this is a file; Harp shares folders'), $this->l->t('choose the folder that it is in'), 400);
		}
		if ($node->isEncrypted() && !$node->getStorage()->instanceOfStorage('OC\Files\Storage\Wrapper\Encryption')) {
			throw new DaemonError($this->l->t('this folder is end-to-end encrypted'), $this->l->t('Harp cannot read it; choose another'), 400);
		}
		return $path;
	}

	/** The account under which the daemon knows this person; made when it is first needed. @throws DaemonError */
	private function account(IUser $user): string {
		$name = 'nextcloud-' . substr(hash('sha256', $user->getUID()), 0, 16);
		$token = $this->values->getValueInt($user->getUID(), Config::APP, 'token', 0, true);
		if ($token !== 0 && $this->passwords->isThere($token) && $this->mine($user) !== []) {
			return $name;
		}
		$made = $this->passwords->make($user);
		try {
			$this->daemon->send('POST', '/v1/accounts', [
				'name' => $name,
				'url' => $this->config->nextcloudUrl() ?: rtrim($this->urls->getAbsoluteURL('/'), '/'),
				'user' => $user->getUID(),
				'password' => $made['password'],
			], self::LONG_MS);
		} catch (DaemonError $e) {
			$this->passwords->takeBack($user, $made['id']);
			throw $e->status === 404
				? new DaemonError($this->l->t('this Harp daemon cannot share folders of a Nextcloud'), $this->l->t('update the daemon'), 404)
				: $e;
		}
		if ($token !== 0) {
			$this->passwords->takeBack($user, $token);
		}
		$this->values->setValueInt($user->getUID(), Config::APP, 'token', $made['id'], true);
		return $name;
	}

	/** @return array<array-key, string> paths by folder id */
	private function mine(IUser $user): array {
		return array_filter($this->values->getValueArray($user->getUID(), Config::APP, 'folders', [], true), 'is_string');
	}

	/** @param array<array-key, string> $mine */
	private function keep(IUser $user, array $mine): void {
		$this->values->setValueArray($user->getUID(), Config::APP, 'folders', $mine, true);
	}

	/** @throws DaemonError where the folder is another's, or nobody's: both look alike */
	private function path(IUser $user, string $id): string {
		return $this->mine($user)[$id] ?? throw new DaemonError($this->l->t('no such folder'), '', 404);
	}

	/**
	 * @param list<array<string, mixed>> $peers
	 * @return list<Device>
	 */
	private static function devices(array $peers, string $folder): array {
		$devices = [];
		foreach ($peers as $peer) {
			foreach (self::rows($peer, 'folders') as $held) {
				if (self::text($held, 'id') === $folder) {
					$devices[] = [
						'id' => self::text($peer, 'id'),
						'name' => self::text($peer, 'name'),
						'connected' => ($peer['is_connected'] ?? false) === true,
						'lacks' => is_int($held['lacks_files'] ?? null) ? $held['lacks_files'] : null,
					];
				}
			}
		}
		return $devices;
	}

	/**
	 * @param array<string, mixed> $noun
	 * @return list<array<string, mixed>>
	 */
	private static function rows(array $noun, string $field): array {
		return array_values(array_filter(is_array($noun[$field] ?? null) ? $noun[$field] : [], 'is_array'));
	}

	/** @param array<string, mixed> $noun */
	private static function text(array $noun, string $field): string {
		return is_string($noun[$field] ?? null) ? $noun[$field] : '';
	}
}
