<?php

declare(strict_types=1);

// SPDX-License-Identifier: AGPL-3.0-or-later

namespace OCA\HarpBridge\Controller;

use OCA\HarpBridge\Hooks;
use OCA\HarpBridge\NewFiles\Commits;
use OCA\HarpBridge\NewFiles\Parcel;
use OCA\HarpBridge\NewFiles\Writer;
use OCP\AppFramework\Http;
use OCP\AppFramework\Http\Attribute\ApiRoute;
use OCP\AppFramework\Http\Attribute\NoAdminRequired;
use OCP\AppFramework\Http\Attribute\NoCSRFRequired;
use OCP\AppFramework\Http\Attribute\UserRateLimit;
use OCP\AppFramework\Http\DataResponse;
use OCP\AppFramework\OCSController;
use OCP\IRequest;
use OCP\IUserSession;

/** POST /ocs/v2.php/apps/harpbridge/api/v1/new-files: many small files at once, over nothing. */
class NewFilesController extends OCSController {
	public function __construct(
		string $appName,
		IRequest $request,
		private Writer $writer,
		private Commits $commits,
		private Hooks $hooks,
		private IUserSession $session,
	) {
		parent::__construct($appName, $request);
	}

	#[NoAdminRequired]
	#[NoCSRFRequired]
	#[UserRateLimit(limit: 1200, period: 60)]
	#[ApiRoute(verb: 'POST', url: '/api/v1/new-files')]
	public function make(): DataResponse {
		$user = $this->session->getUser();
		$body = fopen('php://input', 'rb');
		if ($user === null || $body === false) {
			return new DataResponse([], Http::STATUS_UNAUTHORIZED);
		}
		try {
			$parcel = Parcel::of($body);
		} catch (\InvalidArgumentException $e) {
			return new DataResponse(['message' => $e->getMessage()], Http::STATUS_BAD_REQUEST);
		}
		$this->commits->relax();
		try {
			$made = $this->writer->write($user, $parcel);
		} finally {
			$isOwed = $this->commits->insist();
		}
		// The journal's row is committed before the answer, and the disk has all of the files with it. Where there is none, a
		// power cut could take them still: nobody is told, and who sent them asks for each.
		$isKept = $this->hooks->atEndOfRequest();
		return new DataResponse(['made' => $isOwed && !$isKept ? [] : $made]);
	}
}
