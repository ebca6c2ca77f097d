package sampler

import "time"

const probeEvery = 2 * time.Millisecond
