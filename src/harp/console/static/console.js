// SPDX-License-Identifier: AGPL-3.0-or-later
// What a page does by itself: it stays up to date, counts down, copies. Without this file every page works all the same.

import { follow } from "./live.js";
import { countDown, offerCopy } from "./small.js";

countDown();
offerCopy();
follow();
