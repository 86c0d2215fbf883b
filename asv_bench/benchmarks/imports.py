"""Start-up: what a script pays before its first line."""


class Imports:
    timeout = 60

    def timeraw_gaugeflow(self):
        return "import gaugeflow"

    def timeraw_actions(self):
        return "import gaugeflow.actions"

    def timeraw_command(self):
        return "import gaugeflow.cli"
