package corpus

import (
	"context"
	"errors"
	"strings"

	"github.com/llm-tracer/tracer/schema"
)

// Instruction ends every prefill prompt: the answer to it is a word, so that nearly all of the work is prefill.
const Instruction = "Summarize in 1 word."

// MaxAnswer bounds the answer to a prefill prompt. A word is a few tokens; the rest is room for models that answer in a
// sentence all the same.
const MaxAnswer = 16

// prefill makes texts of exactly the slots' sizes, opening and instruction counted.
func prefill(ctx context.Context, seed uint64, slots []Slot, counter Counter, author Author) ([]schema.Prompt, error) {
	f, err := newFitter(ctx, seed, counter)
	if err != nil {
		return nil, err
	}
	number := map[int]int{}
	for _, s := range slots {
		number[s.Size]++
	}
	for _, s := range slots {
		if err := f.roomFor(number[s.Size], s.Size); err != nil {
			return nil, of(s, err)
		}
	}
	prompts := make([]schema.Prompt, len(slots))
	fill := func(ctx context.Context, i, attempt int) error {
		text, from, err := f.write(ctx, slots[i], uint64(i), attempt, author)
		prompts[i] = schema.Prompt{
			Workload: schema.WorkloadPrefill, Text: text, MaxTokens: MaxAnswer,
			Source: from.source, WrittenBy: from.WrittenBy, CreatedUnixMS: from.CreatedUnixMS,
		}
		seal(&prompts[i], slots[i].Size, slots[i].Number, slots[i].Size, counter)
		return of(slots[i], err)
	}
	if err := each(ctx, prompts, func(ctx context.Context, i int) error { return fill(ctx, i, 0) }); err != nil {
		return nil, err
	}
	existing := make(map[string]bool, len(prompts))
	for i := range prompts { // short texts come out alike now and then
		for attempt := 1; existing[prompts[i].Text]; attempt++ {
			if attempt > 1000 {
				return nil, refused("size %d: no more different texts; ask for fewer a size", prompts[i].TargetTokens)
			}
			if err := fill(ctx, i, attempt); err != nil {
				return nil, err
			}
		}
		existing[prompts[i].Text] = true
	}
	return prompts, nil
}

// of says whose prompt could not be made.
func of(s Slot, err error) error {
	if e, ok := errors.AsType[*SpecError](err); ok {
		e.slot = s
	}
	return err
}

// origin is where the words of a text come from.
type origin struct {
	source string
	Text
}

// write makes the prompt of a slot, the index-th of the corpus. A text with no room for a sentence before the author's
// words is the built-in author's alone.
func (f *fitter) write(ctx context.Context, slot Slot, index uint64, attempt int, author Author) (string, origin, error) {
	teller := storyteller{rng: slot.random(f.seed + uint64(attempt)<<48)}
	room := slot.Size - f.tail
	opening := f.openings.names[index%uint64(len(f.openings.names))]
	if room < f.meeting+shortestSentence {
		text, err := f.short(ctx, &teller, opening, slot.Size)
		return text, origin{source: SourceBuiltin}, err
	}
	opening, room = f.openings.sentence(index), room-f.meeting
	if author == nil {
		if f.oneWordOneToken {
			text := opening + " " + teller.tell(teller.pick(words.openers), room) + " " + Instruction
			return text, origin{source: SourceBuiltin}, f.check(ctx, text, slot.Size)
		}
		body := teller.tell(teller.pick(words.openers), f.wordsFor(room))
		text, _, err := f.fit(ctx, &teller, opening+" ", body, slot.Size)
		return text, origin{source: SourceBuiltin}, err
	}
	written, err := author.Write(ctx, slot, room)
	if err != nil {
		return "", origin{}, err
	}
	// The instruction may be part of a text already, and a text may be too short.
	body := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(written.Body), Instruction))
	if need := f.wordsFor(room); len(strings.Fields(body)) < need {
		body = strings.TrimSpace(body + " " + teller.tell(teller.pick(words.openers), need))
	}
	text, kept, err := f.fit(ctx, &teller, opening+" ", body, slot.Size)
	if kept == 0 { // the author's first word has too many tokens
		return text, origin{source: SourceBuiltin}, err
	}
	return text, origin{author.Source(), written}, err
}

// short writes a text that begins with a name instead of a sentence.
func (f *fitter) short(ctx context.Context, teller *storyteller, name string, size int) (string, error) {
	room := size - f.tail
	switch {
	case !f.oneWordOneToken:
	case room < 1:
		return Instruction, f.check(ctx, Instruction, size)
	default:
		text := teller.tell(name, room) + " " + Instruction
		return text, f.check(ctx, text, size)
	}
	text, _, err := f.fit(ctx, teller, "", teller.tell(name, f.wordsFor(room)), size)
	return text, err
}

// roomFor refuses sizes that hold no instruction, or not enough different texts in the room before it. One token holds a
// name, a second its full stop, a third a verb, a fourth an adverb; half of their combinations are found without search.
func (f *fitter) roomFor(perSize, size int) error {
	room, different := size-f.tail, 1
	names := len(f.openings.names)
	least := f.bare
	if !f.oneWordOneToken {
		least = f.tail + f.name
	}
	switch {
	case size < least:
		return refused("size %d does not hold the instruction %q: the smallest possible is %d tokens of %s", size,
			Instruction, least, f.counter.Name())
	case room < f.name:
	case room < f.name+2 || !f.oneWordOneToken:
		different = names
	case room == f.name+2:
		different = names * len(words.rested) / 2
	default:
		different = names * len(words.rested) * len(words.adverbs) / 2
	}
	if room >= f.meeting+shortestSentence {
		different = names * names
	}
	if perSize > different {
		return refused("size %d has room for %d different prompts, not %d: ask for fewer a size, or for a larger size",
			size, different, perSize)
	}
	return nil
}
