<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Controller;

use OCA\HarpBridge\Daemon\Presence;
use OCA\HarpBridge\Journal\Journal;
use OCA\HarpBridge\Journal\Reader;
use OCP\AppFramework\Http;
use OCP\AppFramework\Http\Attribute\ApiRoute;
use OCP\AppFramework\Http\Attribute\NoAdminRequired;
use OCP\AppFramework\Http\Attribute\NoCSRFRequired;
use OCP\AppFramework\Http\Attribute\UserRateLimit;
use OCP\AppFramework\Http\DataResponse;
use OCP\AppFramework\OCSController;
use OCP\IRequest;
use OCP\IUserSession;

/** Below /ocs/v2.php/apps/harpbridge/api/v1: what changed, for whoever asks. */
class JournalController extends OCSController {
	private const MOST_ROWS = 1000;

	public function __construct(
		string $appName,
		IRequest $request,
		private Reader $reader,
		private Journal $journal,
		private Presence $presence,
		private IUserSession $session,
	) {
		parent::__construct($appName, $request);
	}

	/** `since` is the cursor of the answer before, 0 at first. */
	#[NoAdminRequired]
	#[NoCSRFRequired]
	#[UserRateLimit(limit: 1200, period: 60)]
	#[ApiRoute(verb: 'GET', url: '/api/v1/journal')]
	public function journal(int $since = 0, int $limit = 500): DataResponse {
		$user = $this->session->getUser();
		if ($user === null) {
			return new DataResponse([], Http::STATUS_UNAUTHORIZED);
		}
		return new DataResponse($this->reader->read($user, max(0, $since), max(1, min($limit, self::MOST_ROWS))));
	}

	/** Whether anything changed for anybody, at little cost: the answer is another one then. */
	#[NoAdminRequired]
	#[NoCSRFRequired]
	#[UserRateLimit(limit: 1200, period: 60)]
	#[ApiRoute(verb: 'GET', url: '/api/v1/journal/mark')]
	public function mark(): DataResponse {
		$user = $this->session->getUser();
		if ($user === null) {
			return new DataResponse([], Http::STATUS_UNAUTHORIZED);
		}
		$this->presence->note($user);
		return new DataResponse($this->journal->mark());
	}
}
