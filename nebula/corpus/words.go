package corpus

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed words.txt
var wordsText string

//go:embed elements.txt
var elementsText string

// lexicon is what sentences are built of. Each word is one token where it stands, so a sentence has as many tokens as
// words and punctuation marks.
type lexicon struct {
	names        []string // they begin a text
	openers      []string // names and groups: they may begin a sentence
	nouns        []string
	adjectives   []string
	adverbs      []string
	rested       []string // verbs without an object
	met          []string // verbs with one
	prepositions []string
	joiners      []string
	times        []string // two words
}

var words = func() lexicon {
	lists := sections(wordsText)
	times := slices.Clone(lists["times"])
	for i, t := range times {
		times[i] = strings.ReplaceAll(t, "_", " ")
	}
	return lexicon{
		names:        lists["names"],
		openers:      slices.Concat(lists["names"], lists["groups"]),
		nouns:        lists["nouns"],
		adjectives:   lists["adjectives"],
		adverbs:      lists["adverbs"],
		rested:       lists["rested"],
		met:          lists["met"],
		prepositions: lists["prepositions"],
		joiners:      lists["joiners"],
		times:        times,
	}
}()

// elements are what decode prompts ask a story about, each with its article.
var elements = strings.Split(strings.TrimSpace(elementsText), "\n")

// sections reads a list of words under headings in square brackets; # begins a comment.
func sections(text string) map[string][]string {
	lists, heading := map[string][]string{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			heading = strings.Trim(line, "[]")
		default:
			lists[heading] = append(lists[heading], strings.Fields(line)...)
		}
	}
	if len(lists["nouns"]) == 0 {
		panic(fmt.Sprintf("words.txt has no nouns: %d headings", len(lists))) // embedded: a build that cannot work
	}
	return lists
}
