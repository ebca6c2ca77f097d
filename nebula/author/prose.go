package author

import (
	"regexp"
	"strings"
)

var (
	thinking = regexp.MustCompile(`(?s)<think>.*?(</think>|$)`)
	thought  = regexp.MustCompile(`(?s)^.*</think>`) // where the chat template has opened it
	heading  = regexp.MustCompile(`(?m)^\s*(#+\s.*|[-*_]{3,}\s*)$`)
	bullet   = regexp.MustCompile(`(?m)^\s*([-*•]|\d+[.)])\s+`)
	emphasis = regexp.MustCompile("[*_`]{1,3}")
)

// prose is an answer's running text: without formatting, on one line, up to its last full sentence.
func prose(answer string) string {
	for _, markup := range []*regexp.Regexp{thinking, thought, heading, bullet, emphasis} {
		answer = markup.ReplaceAllString(answer, "")
	}
	answer = strings.Join(strings.Fields(answer), " ")
	end := strings.LastIndexAny(answer, ".!?")
	for end+1 < len(answer) && strings.ContainsRune(`"')`, rune(answer[end+1])) {
		end++
	}
	return answer[:end+1]
}
