module quorate.example/judge

go 1.16

require github.com/anishathalye/porcupine v0.0.0
