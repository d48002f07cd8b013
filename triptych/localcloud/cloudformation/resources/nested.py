"""AWS::CloudFormation: stacks within stacks."""

from __future__ import annotations

from triptych.localcloud.cloudformation.resources.base import Made, Properties, ResourceContext, ResourceType
from triptych.localcloud.cloudformation.shapes import PropertyError


def _parameters(properties: Properties) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in properties.get("Parameters", {}).items():
        if isinstance(value, list):
            texts[name] = ",".join(map(str, value))
        elif isinstance(value, bool):
            texts[name] = "true" if value else "false"
        else:
            texts[name] = str(value)
    return texts


class NestedStack(ResourceType):
    type = "AWS::CloudFormation::Stack"

    def create(self, context: ResourceContext, properties: Properties) -> Made:
        engine = context.engine
        stack = engine.new_stack(
            context.name(None, longest=128),
            region=context.region,
            body=engine.template_at(properties["TemplateURL"]),
            given=_parameters(properties),
            tags=context.tags(properties.get("Tags")),
            parent=context.stack,
        )
        context.note(Made(stack.stack_id))
        engine.create(stack)
        return self._made(context, stack.stack_id, "created")

    @staticmethod
    def _made(context: ResourceContext, stack_id: str, verb: str) -> Made:
        stack = context.engine.store.stack(stack_id)
        if stack.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise PropertyError(
                f"Embedded stack {stack_id} was not successfully {verb}: "
                f"{context.engine.failure_of(stack) or stack.status}"
            )
        return Made(stack_id, {f"Outputs.{name}": output["value"] for name, output in stack.outputs.items()})

    def update(
        self, context: ResourceContext, made: Made, properties: Properties, previous: Properties
    ) -> Made:
        engine = context.engine
        stack = engine.store.stack(made.physical_id)
        engine.update(
            stack,
            body=engine.template_at(properties["TemplateURL"]),
            given=_parameters(properties),
            tags=context.tags(properties.get("Tags")),
        )
        return self._made(context, made.physical_id, "updated")

    def delete(self, context: ResourceContext, made: Made, properties: Properties) -> None:
        stack = context.engine.store.find(made.physical_id)
        if stack is None or stack.status == "DELETE_COMPLETE":
            return
        context.engine.delete(stack)
        stack = context.engine.store.stack(made.physical_id)
        if stack.status != "DELETE_COMPLETE":
            raise PropertyError(
                f"Embedded stack {made.physical_id} was not deleted: "
                f"{context.engine.failure_of(stack) or stack.status}"
            )


TYPES: tuple[ResourceType, ...] = (NestedStack(),)
