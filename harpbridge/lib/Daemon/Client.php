<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Daemon;

use OCA\HarpBridge\Config;
use OCP\IL10N;

/**
 * Asks the daemon over its control socket: HTTP and JSON on a Unix socket, docs/reference/api.md.
 *
 * Only settings pages, commands and background jobs do this, with a short time-out; never what runs in a person's upload.
 * The daemon answers its own user and root alone, so it has to run as the web server's user.
 */
class Client {
	private const CONNECT_MS = 500;
	private const LONGEST_MS = 3_000;
	private const MOST_BYTES = 4 << 20;

	/** What is wrong is said in the language of `$l`, that of whoever asks, and by the daemon too. */
	public function __construct(
		private Config $config,
		private IL10N $l,
	) {
	}

	/**
	 * @return array<string, mixed>
	 * @throws DaemonError
	 */
	public function get(string $path): array {
		return $this->decoded($this->ask('GET', $path, null, self::LONGEST_MS));
	}

	/**
	 * @param array<string, mixed> $fields
	 * @return array<string, mixed>
	 * @throws DaemonError
	 */
	public function send(string $method, string $path, array $fields = [], int $longestMs = self::LONGEST_MS): array {
		$body = json_encode((object)$fields, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE);
		return $this->decoded($this->ask($method, $path, $body, $longestMs));
	}

	/**
	 * The counters in Prometheus' text form.
	 *
	 * @throws DaemonError
	 */
	public function metrics(): string {
		return $this->ask('GET', '/metrics', null, self::LONGEST_MS);
	}

	/** @throws DaemonError */
	private function ask(string $method, string $path, ?string $body, int $longestMs): string {
		$answer = '';
		$handle = curl_init();
		curl_setopt_array($handle, [
			CURLOPT_UNIX_SOCKET_PATH => $this->config->controlSocket(),
			CURLOPT_URL => 'http://localhost' . $path,
			CURLOPT_CUSTOMREQUEST => $method,
			CURLOPT_PROXY => '',
			CURLOPT_FOLLOWLOCATION => false,
			CURLOPT_CONNECTTIMEOUT_MS => self::CONNECT_MS,
			CURLOPT_TIMEOUT_MS => $longestMs,
			CURLOPT_NOSIGNAL => true,
			CURLOPT_WRITEFUNCTION => static function ($_, string $bytes) use (&$answer): int {
				$answer .= $bytes;
				return strlen($answer) > self::MOST_BYTES ? 0 : strlen($bytes);
			},
		]);
		$headers = ['Accept-Language: ' . $this->language()];
		if ($body !== null) {
			array_push($headers, 'Content-Type: application/json', 'Expect:');
			curl_setopt($handle, CURLOPT_POSTFIELDS, $body);
		}
		curl_setopt($handle, CURLOPT_HTTPHEADER, $headers);
		$isFine = curl_exec($handle);
		$status = (int)curl_getinfo($handle, CURLINFO_RESPONSE_CODE);
		$errno = curl_errno($handle);
		unset($handle);
		if ($isFine === false) {
			throw $this->unreached($errno);
		}
		if ($status >= 400 || $status === 0) {
			throw $this->refused($answer, $status);
		}
		return $answer;
	}

	private function unreached(int $errno): DaemonError {
		$socket = $this->config->controlSocket();
		if ($errno === CURLE_OPERATION_TIMEDOUT) {
			return new DaemonError($this->l->t('the Harp daemon does not answer in time'), $this->l->t('look at its log, then start it anew'));
		}
		if (!file_exists($socket)) {
			return new DaemonError(
				$this->l->t('there is no control socket at %s', [$socket]),
				$this->l->t('start the daemon (harp up), or say where its socket is: occ harpbridge:setup --control-socket PATH'),
			);
		}
		if (!is_writable($socket)) {
			return new DaemonError(
				$this->l->t('the control socket %s belongs to another user', [$socket]),
				$this->l->t('run the daemon as the web server\'s user; it answers to its own user only'),
			);
		}
		return new DaemonError($this->l->t('nobody answers at %s', [$socket]), $this->l->t('start the daemon: harp up'));
	}

	/** As HTTP writes it (RFC 9110, 12.5.4). */
	private function language(): string {
		$code = $this->l->getLanguageCode();
		return preg_match('/^[A-Za-z]{2,3}(?:[_-][A-Za-z]+)*$/D', $code) === 1 ? strtr($code, '_', '-') : 'en';
	}

	private function refused(string $answer, int $status): DaemonError {
		$said = json_decode($answer, true);
		$message = is_array($said) && is_string($said['message'] ?? null) ? $said['message'] : $this->l->t('the daemon answered %s', [$status]);
		$hint = is_array($said) && is_string($said['hint'] ?? null) ? $said['hint'] : '';
		return new DaemonError($message, $hint, $status);
	}

	/**
	 * @return array<string, mixed>
	 * @throws DaemonError
	 */
	private function decoded(string $answer): array {
		$said = json_decode($answer, true, 64);
		if (!is_array($said)) {
			$message = $this->l->t('what answers at the control socket is not a Harp daemon');
			throw new DaemonError($message, 'occ harpbridge:setup --control-socket PATH');
		}
		return $said;
	}
}
