// Package nebula is what is asked of a language model, and when it answered.
//
// A Client sends one prompt to an OpenAI-compatible server and turns the answering stream into a schema.Span: instants on
// the host's monotonic clock, token counts by the server's own word, and the reasons why the measurement may not be used.
// The stream is only recorded while it runs, each line with the instant at which it came out of the kernel; JSON is
// decoded when it is over, so that decoding delays no stamp. The first token is the first delta that says something:
// servers send headers, roles, comments and progress long before that.
//
// Servers differ in what makes an answer exactly so many tokens long, in what keeps a prompt out of the prefix cache and
// in what they tell of their own timing. A Profile is the row that says so; Detect asks the server which row it is.
//
// A Schedule sends many prompts through a few workers, each of which tells the pipeline first that a request opens and
// then, with its span, that it closed. Every attempt is a span of its own, the failed ones too.
//
// The key to the server leaves this package in one place only, the Authorization header. No error, span or printed value
// holds it, and URLs are shown without user, password and query.
package nebula
