// Package energy estimates where a board's energy went from a power sensor that shows, now and then, the mean power over a
// window that has passed.
//
// The model. Time is divided into segments in which the board does one thing: a prefill, a decode, idling. In a segment its
// work asks for a level of power, which wanders slowly; segments of one kind ask for about the same. The board's power
// follows the level late, by a response that never turns back. A request reaches the board some time after it was sent, and
// a token its client some time after the stage that it ends. The sensor shows the mean of that power over its window, with
// some scatter, each time that it updates. All of this is linear in the levels and, nearly, Gaussian: the levels that agree
// best with the updates are the solution of a banded system, and its inverse says how far they may be off. What all levels
// share, the response, the delays, the sensor's window and the means of the kinds, is found from the same updates by
// Gauss-Newton steps. Energies are integrals of the one power curve that comes out: those of stages add up to those of
// requests, and these, with idling, to that of the run.
//
// A stage shorter than a sensor's period has no value of its own. Its energy is what its kind's repetitions, met by the
// sensor at all phases, agree on; Resolved tells such stages apart, and intervals are as wide as that makes them.
//
// What it cannot know: a sensor's gain, which callers add; and whether boards respond as supposed. How well it does where
// the truth is known is in docs/accuracy.md.
package energy
